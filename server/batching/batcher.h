// The queue between those who ask for samples and the threads that sample.
//
// A job is the rows of one call. Executor threads take the jobs in their order; while they are busy
// jobs gather, and the next batch takes as many as fit. An idle executor takes a job at once: no
// job ever waits for company.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_BATCHER_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_BATCHER_H_

#include <cstdint>
#include <list>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

// Rows of one call, and what happens when they are done. Derived classes own what the rows point
// to.
class SamplingJob {
 public:
  virtual ~SamplingJob() = default;

  // Called once for each job that Submit accepted, on an executor thread or in Cancel or Stop. When
  // `status` is OK, results[i] belongs to rows[i]. Otherwise it is Cancelled or DeadlineExceeded
  // (the job left the queue unsampled), Unavailable (the batcher stopped), or the sampler's own
  // error. Must not block: other jobs wait behind it.
  virtual void Done(const absl::Status& status) = 0;

  // What an executor does with a job that it does not sample together with others: samples `rows`
  // into `results`. Returns the status for Done.
  virtual absl::Status Run(Sampler& sampler);

  std::vector<RowInput> rows;
  std::vector<RowResult> results;         // same length, filled before Done
  bool runs_alone = false;                // never sampled together with others
  TimePoint deadline = TimePoint::max();  // not sampled when it is taken later than this
  uint64_t bytes = 0;                     // memory that the job holds while it waits
  TimePoint taken;                        // when it left the queue to be sampled

 private:
  friend class Batcher;

  // The batcher's own, under its mutex.
  std::list<std::shared_ptr<SamplingJob>>::iterator position_;  // in the queue, while queued_
  bool queued_ = false;
  bool cancelled_ = false;
};

struct BatcherOptions {
  int num_executors = 1;              // threads that call the sampler; 0: its parallel_calls()
  uint64_t max_batch_rows = 1024;     // rows per call of the sampler; a larger job goes alone
  uint64_t max_queued_rows = 65'536;  // waiting; a job beyond either is refused,
  uint64_t max_queued_bytes = uint64_t{1} << 30;  // unless nothing waits
};

// Counts since the start where nothing else is said, for metrics and tests.
struct BatcherCounters {
  uint64_t batches = 0;
  uint64_t rows = 0;     // sampled
  uint64_t refused = 0;  // jobs that found the queue full
  uint64_t dropped = 0;  // jobs that were cancelled or expired in the queue
  uint64_t waiting = 0;  // jobs in the queue now
};

// Thread-safe.
class Batcher {
 public:
  // `sampler` and `clock` must outlive the batcher.
  Batcher(Sampler& sampler, const BatcherOptions& options, const Clock& clock = Clock::System());

  // As Stop.
  ~Batcher();

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Queues the job. When this is not OK, Done is not called: ResourceExhausted when the queue is
  // full, Unavailable after Stop, Cancelled after Cancel.
  absl::Status Submit(std::shared_ptr<SamplingJob> job);

  // Whoever waits for the job has gone. If it is still queued it leaves the queue now, and Done is
  // called here; a job under way is finished as if nothing had happened.
  void Cancel(SamplingJob& job);

  // Refuses new jobs, finishes the batches under way, completes what is still queued with
  // Unavailable, and joins the threads. Idempotent; call it from one thread.
  void Stop();

  BatcherCounters counters() const;

 private:
  using Queue = std::list<std::shared_ptr<SamplingJob>>;
  using Jobs = std::vector<std::shared_ptr<SamplingJob>>;

  std::shared_ptr<SamplingJob> RemoveFromQueue(Queue::iterator position)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunExecutor();
  // Waits for jobs; puts those to sample into `batch` and those to drop into `dropped`. False when
  // the batcher stops.
  bool TakeJobs(Jobs& batch, Jobs& dropped);
  void SampleJobs(Jobs& batch);

  Sampler& sampler_;
  const BatcherOptions options_;
  const Clock& clock_;

  mutable Mutex mutex_;
  CondVar job_added_;
  Queue queue_ ABSL_GUARDED_BY(mutex_);
  uint64_t queued_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  BatcherCounters counters_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> executors_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_BATCHER_H_
