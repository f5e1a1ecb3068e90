// The jobs that wait, in an order that is fair.
//
// Time is shared among the clients that have something waiting, in proportion to their weights. The
// share of a client is divided among the priorities of its jobs, that of a priority among the
// client's connections, and that of a connection among lines of jobs of about the same work: a
// short call does not wait behind the long ones of its own connection. Within a line the first come
// is the first served. Each of these has a virtual time, the work that was done for it by its
// weight; the one with the least goes next, and whoever comes anew starts where the others are, so
// that time not used is not saved (start-time fair queueing; Goyal et al., 1996).
//
// A priority has a share of its own, not a place in front of the others, so that jobs of a low one
// get on however many of a higher one come.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/batching/sampling_job.h"

namespace token_sampler {

struct QueueNode;

// By client. One that is not named has weight 1.
using ClientWeights = std::map<std::string, double>;

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

  // The weights are above 0.
  explicit FairQueue(ClientWeights weights = {});
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

  // The newest job that is not under way of whoever holds most of the queue by its weight, as a
  // share of `most_rows` and `most_bytes`, if that is more than what `identity` would hold with
  // `rows` and `bytes` more; null: nobody does.
  SamplingJob* MostHeld(const CallIdentity& identity, uint64_t rows, uint64_t bytes,
                        uint64_t most_rows, uint64_t most_bytes) const;

  const Load& load() const;

  // The jobs of a client that wait.
  Load LoadOf(const std::string& client) const;

 private:
  using Node = QueueNode;

  // One step from the root to a line.
  struct Step {
    std::string key;
    double weight;
  };
  using Path = std::array<Step, 4>;

  Path PathOf(const CallIdentity& identity, std::string line) const;

  // Among those that Next finds, with what it is part of.
  void EnterOrder(Node& line);
  void LeaveOrder(Node& line);

  const ClientWeights weights_;
  std::unique_ptr<Node> root_;
  std::vector<Node*> suspended_;
  uint64_t next_activation_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_
