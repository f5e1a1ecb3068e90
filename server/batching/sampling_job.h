// The rows of one call on their way through the batcher.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_SAMPLING_JOB_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_SAMPLING_JOB_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "sampler/sampler.h"
#include "server/batching/clock.h"

namespace token_sampler {

constexpr uint32_t kHighestPriority = 7;

// Who a call is from. Time and places of the queue are shared among clients, then among the
// priorities of a client's jobs, then among the client's connections.
struct CallIdentity {
  std::string client = {};
  std::string connection = {};
  // At most kHighestPriority. While jobs of several priorities of one client wait, each priority
  // has twice the share of the next lower one. Does not affect other clients.
  uint32_t priority = 0;
};

struct QueueNode;
struct Turn;

// Rows of one call, and what to do when they are done. Derived classes own what the rows point to.
class SamplingJob {
 public:
  virtual ~SamplingJob() = default;

  // Called once for each job that Submit accepted, on a thread of the batcher or in Submit, Cancel
  // or Stop. When `status` is OK, results[i] belongs to rows[i]. Otherwise it is Cancelled or
  // DeadlineExceeded, ResourceExhausted (the job made room in a full queue for a caller that holds
  // less of it), Unavailable (the batcher stopped), or the sampler's own error. Must not block:
  // other jobs wait for it.
  virtual void Done(const absl::Status& status) = 0;

  // Does the work of a job that runs alone: resizes `results` to the length of `rows` and samples
  // into it. The rows' `pace` is set. Returns the status for Done.
  virtual absl::Status Run(Sampler& sampler);

  std::vector<RowInput> rows;
  std::vector<RowResult> results;         // same length as `rows`, filled before Done
  bool runs_alone = false;                // sampled by Run, never in pieces or with others
  TimePoint deadline = TimePoint::max();  // no sampling starts after this
  uint64_t bytes = 0;                     // memory that the job holds while it waits
  CallIdentity identity;                  // who waits for it
  uint64_t work = 0;  // of all rows, see work_estimate.h; 0: Submit estimates it
  TimePoint taken;    // when its first rows left the queue to be sampled
  std::chrono::milliseconds retry_after{0};  // when refused: how long the caller should wait

 private:
  friend class Batcher;
  friend class FairQueue;

  // An upper bound of the tokens of the rows that are sampled at a time when the job takes turns.
  int64_t TokensAtOnce(size_t rows_at_once) const;

  // Only the batcher uses these, under its mutex once the job is submitted.
  absl::InlinedVector<uint64_t, 1> row_work_;  // of each row; empty: it runs alone
  uint64_t work_left_ = 0;                     // of the rows not yet handed out
  double worst_case_ = 1.0;   // how many times as long it may take if values need repair
  size_t next_row_ = 0;       // the first not yet handed out
  int pieces_ = 0;            // handed out, not yet sampled
  bool takes_turns_ = false;  // too long for a slice: has a thread of its own while it runs
  bool cancelled_ = false;
  absl::Status status_;                                         // the first error of its pieces
  std::shared_ptr<Turn> turn_;                                  // set once it takes turns
  QueueNode* line_ = nullptr;                                   // where it waits; null: not queued
  std::list<std::shared_ptr<SamplingJob>>::iterator position_;  // in line_
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_SAMPLING_JOB_H_
