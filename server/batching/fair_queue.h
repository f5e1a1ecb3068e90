// The jobs that wait, in an order that is fair.
//
// Time is shared evenly among the clients that have something waiting, the share of a client among
// its connections, and that of a connection among lines of jobs of about the same work: a short
// call does not wait behind the long ones of its own connection. Within a line the first come is
// the first served. Each of these has a virtual time, the work that was done for it; the one with
// the least goes next, and whoever comes anew starts where the others are, so that time not used is
// not saved (start-time fair queueing; Goyal et al., 1996).

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "server/batching/sampling_job.h"

namespace token_sampler {

struct QueueNode;

// Not thread-safe: under the batcher's mutex.
class FairQueue {
 public:
  // The jobs that wait.
  struct Load {
    uint64_t jobs = 0;
    uint64_t rows = 0;  // not handed out
    uint64_t bytes = 0;
    uint64_t work = 0;
  };

  FairQueue();
  ~FairQueue();
  FairQueue(const FairQueue&) = delete;
  FairQueue& operator=(const FairQueue&) = delete;

  // Behind the other jobs of its line.
  void Push(std::shared_ptr<SamplingJob> job);

  // Whose turn it is; null: nobody's. It stays in the queue.
  SamplingJob* Next() const;

  // Its line has had so much work.
  void Charge(const SamplingJob& job, uint64_t work);

  // Some of its rows were handed out, with so much work.
  void TakeRows(SamplingJob& job, size_t rows, uint64_t work);

  // Takes out a job that is in the queue.
  std::shared_ptr<SamplingJob> Remove(SamplingJob& job);

  // Passes over the job's line until ResumeAll.
  void Suspend(const SamplingJob& job);
  void ResumeAll();

  // How much work is likely done before that of a new job is, its own included: that of its own
  // line, and of others no more than their shares meanwhile.
  uint64_t WorkUntilDone(const CallIdentity& identity, bool takes_turns, uint64_t work) const;

  // The newest job that is not under way of whoever holds most of the queue, as a share of
  // `most_rows` and `most_bytes`, if that is more than what `identity` would hold with `rows` and
  // `bytes` more; null: nobody does.
  SamplingJob* MostHeld(const CallIdentity& identity, uint64_t rows, uint64_t bytes,
                        uint64_t most_rows, uint64_t most_bytes) const;

  const Load& load() const;

 private:
  using Node = QueueNode;

  // Among those that Next finds, with what it is part of.
  void EnterOrder(Node& line);
  void LeaveOrder(Node& line);

  std::unique_ptr<Node> root_;
  std::vector<Node*> suspended_;
  uint64_t next_activation_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_
