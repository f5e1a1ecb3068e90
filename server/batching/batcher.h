// The queue between callers who ask for samples and the threads that sample.
//
// A job is the rows of one call. An idle executor takes a job at once: no job ever waits for
// company. If nobody waits and the sampler can sample on the calling thread, the thread that
// submits a job of microseconds samples it too: handing it over would take longer. While the
// executors are busy, jobs gather, and the next batch takes as many as fit into a slice of time, in
// the order of fair_queue.h. A job with more rows than that is sampled in pieces, and others are
// served between them. A job that cannot be cut, such as a long row or a draft, runs on a thread of
// its own, which works only while an executor lends it a turn (sampler/rows/pace.h).

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_BATCHER_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_BATCHER_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"
#include "server/batching/clock.h"
#include "server/batching/fair_queue.h"
#include "server/batching/measured_speed.h"
#include "server/batching/mutex.h"
#include "server/batching/sampling_job.h"

namespace token_sampler {

struct BatcherOptions {
  int num_executors = 1;           // threads that call the sampler; 0: its parallel_calls()
  uint64_t max_batch_rows = 1024;  // most rows per call of the sampler
  std::chrono::nanoseconds slice = std::chrono::milliseconds(2);  // time of a batch or turn
  // A job up to this long may be sampled by the thread that submits it, when no executor works.
  std::chrono::nanoseconds sampled_by_submitter = std::chrono::microseconds(100);
  uint64_t max_queued_rows = 65'536;              // Submit refuses a job beyond either,
  uint64_t max_queued_bytes = uint64_t{1} << 30;  // unless the queue is empty
  // The same for the waiting jobs of one client; 0: no limit but the queue's.
  uint64_t max_queued_rows_per_client = 0;
  uint64_t max_queued_bytes_per_client = 0;
  ClientWeights client_weights = {};  // above 0; a client that is not named has 1
};

// For metrics and tests. Counts since the start, unless a comment says otherwise.
struct BatcherCounters {
  uint64_t batches = 0;
  uint64_t rows = 0;     // sampled
  uint64_t refused = 0;  // jobs that found the queue full, or would have been too late
  uint64_t dropped = 0;  // jobs that were cancelled, expired or pushed out in the queue
  uint64_t turns = 0;    // lent to jobs with threads of their own
  uint64_t waiting = 0;  // jobs in the queue now
};

// Thread-safe.
class Batcher {
 public:
  // `sampler` and `clock` must outlive the batcher.
  Batcher(Sampler& sampler, const BatcherOptions& options, const Clock& clock = Clock::System());

  // Calls Stop().
  ~Batcher();

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Queues the job, or samples it and calls Done. On an error Done is not called:
  // ResourceExhausted, with the job's retry_after set, when the queue is full or the deadline would
  // likely pass before the job is done; Unavailable after Stop; Cancelled after Cancel.
  absl::Status Submit(std::shared_ptr<SamplingJob> job);

  // Returns ResourceExhausted, and sets `retry_after`, when the queue is so full that Submit would
  // refuse any job of this caller. Lets a server refuse a request before it reads it.
  absl::Status CheckRoom(const CallIdentity& identity, std::chrono::milliseconds& retry_after);

  // Tells the batcher that nobody waits for the job any more. If no part of it is being sampled,
  // the job leaves the queue and Done is called here; otherwise Done is called when that part has
  // ended, which is soon.
  void Cancel(SamplingJob& job);

  // Refuses new jobs, finishes the batches under way, interrupts jobs that take turns, completes
  // everything else with Unavailable, and joins the threads. Idempotent; call it from one thread.
  void Stop();

  BatcherCounters counters() const;

  // The time since which jobs have waited without any progress; nullopt when no job waits.
  // Distinguishes a busy server from one that hangs.
  std::optional<TimePoint> StuckSince() const;

 private:
  friend struct Turn;

  using Jobs = std::vector<std::shared_ptr<SamplingJob>>;

  // Rows of a job that one call of the sampler takes.
  struct Piece {
    std::shared_ptr<SamplingJob> job;
    size_t first = 0;
    size_t count = 0;
  };

  using Pieces = absl::InlinedVector<Piece, 1>;

  // The next task of an executor.
  struct Batch {
    Pieces pieces;
    uint64_t rows = 0;
    double work = 0;       // if no value needs repair
    double most_work = 0;  // if all values do
    Jobs turns;            // instead of pieces: jobs to which the executor lends its turn
    Jobs dropped;
    TimePoint began;
  };

  // The most that may wait in the queue, or of one client.
  struct Bound {
    const char* what;
    uint64_t rows;
    uint64_t bytes;

    bool Has(const FairQueue::Load& load, uint64_t more_rows, uint64_t more_bytes) const {
      return load.rows + more_rows <= rows && load.bytes + more_bytes <= bytes;
    }
  };

  void RunExecutor();

  // Waits for jobs, and puts the jobs to sample and the jobs to drop into `batch`. False when the
  // batcher stops.
  bool TakeBatch(Batch& batch);
  // True when the thread that submits the job is to sample it too.
  bool StaysHere(const SamplingJob& job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The next job that can be sampled now; null: none.
  SamplingJob* NextJob() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True when there is reason to believe that the job will not be done in time.
  bool IsLate(const SamplingJob& job, TimePoint now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How many of the job's rows go into the batch.
  size_t RowsToTake(const SamplingJob& job, const Batch& batch) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakePiece(SamplingJob& job, size_t rows, Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds rows that have left the queue to `batch`.
  void HandOut(Piece piece, uint64_t work, Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool CanStartTurns(const SamplingJob& job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeTurn(SamplingJob& job, Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Sample(const Batch& batch);
  absl::Status SamplePieces(const Pieces& pieces);
  // Waits until the batch's jobs have given the executor's turn back, and queues those not done.
  void LendTurns(Batch& batch);

  // Samples jobs that take turns, one after the other.
  void RunTurnThread();
  absl::Status SampleByTurns(SamplingJob& job);
  bool GoOn(Turn& turn);

  // Why the job must end: its own error, its deadline, Cancel or Stop. OK if it may go on.
  absl::Status EndReason(const SamplingJob& job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RefuseFull(const Bound& bound, const FairQueue::Load& load, uint64_t rows,
                          uint64_t bytes, uint64_t work, std::chrono::milliseconds& retry_after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes `job` out of the queue. True when no part of it is under way: it is appended to
  // `dropped`, and the caller calls its Done.
  bool Drop(SamplingJob& job, const absl::Status& status, Jobs& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::chrono::nanoseconds TimeOf(uint64_t work) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::chrono::milliseconds PromiseRoom(uint64_t work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Sampler& sampler_;
  const BatcherOptions options_;
  const Clock& clock_;
  const size_t num_executors_;
  const size_t rows_at_once_;  // of the sampler
  const size_t max_turns_;     // jobs that take turns at a time
  const Bound queue_bound_;
  const Bound client_bound_;

  mutable Mutex mutex_;
  CondVar job_added_;
  CondVar turn_ended_;      // for executors that lend turns
  CondVar turn_started_;    // for turn threads without a job
  CondVar submitter_done_;  // for Stop
  FairQueue queue_ ABSL_GUARDED_BY(mutex_);
  MeasuredSpeed speed_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<SamplingJob>> starting_ ABSL_GUARDED_BY(mutex_);
  size_t executors_sampling_ ABSL_GUARDED_BY(mutex_) = 0;  // or lending their turn
  size_t submitters_sampling_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t turn_takers_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t turn_tokens_ ABSL_GUARDED_BY(mutex_) = 0;  // of the rows that turn takers hold at a time
  std::map<std::string, size_t> turn_takers_of_client_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  TimePoint promised_until_ ABSL_GUARDED_BY(mutex_);
  TimePoint last_idle_ ABSL_GUARDED_BY(mutex_);  // when nothing last waited
  TimePoint last_progress_ ABSL_GUARDED_BY(mutex_);
  BatcherCounters counters_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> turn_threads_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> executors_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_BATCHER_H_
