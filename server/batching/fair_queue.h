// The waiting jobs, in a fair order.
//
// Time is shared among the clients that have something waiting, in proportion to their weights. The
// share of a client is divided among the priorities of its jobs, that of a priority among the
// client's connections, and that of a connection among lines of jobs of about the same work, so
// that a short call does not wait behind the long ones of its own connection. Within a line the
// order is first come, first served. Each client, priority, connection and line has a virtual time:
// the work done for it, divided by its weight. The one with the least goes next, and a newcomer
// starts where the others are, so that unused time is not saved (start-time fair queueing; Goyal et
// al., 1996).
//
// A priority gets a share, not a place before the others, so that jobs of a low priority make
// progress however many of a higher one come.

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

// Weights by client. A client that is not named has weight 1.
using ClientWeights = std::map<std::string, double>;

// Not thread-safe: the batcher's mutex guards it.
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

  // Adds the job after the other jobs of its line.
  void Push(std::shared_ptr<SamplingJob> job);

  // The job whose turn it is, which stays in the queue; null if no line that is not suspended has
  // one.
  SamplingJob* Next() const;

  // Charges `work` to the job's line, connection, priority and client.
  void Charge(const SamplingJob& job, uint64_t work);

  // Counts `rows` more rows of the job as handed out, and charges their work.
  void TakeRows(SamplingJob& job, size_t rows, uint64_t work);

  // Takes a job out of the queue, which must hold it.
  std::shared_ptr<SamplingJob> Remove(SamplingJob& job);

  // Makes Next() pass over the job's line until ResumeAll().
  void Suspend(const SamplingJob& job);
  void ResumeAll();

  // The work that is likely done until a new job of the caller is, its own included: all of its
  // line's, and of the others' at most their shares meanwhile.
  uint64_t WorkUntilDone(const CallIdentity& identity, bool takes_turns, uint64_t work) const;

  // The job to push out of a full queue in favor of `identity`: the newest job not under way of the
  // holder of the largest part of the queue by its weight, as a share of `most_rows` and
  // `most_bytes`. Null unless that part is larger than what `identity` would hold with `rows` and
  // `bytes` more.
  SamplingJob* MostHeld(const CallIdentity& identity, uint64_t rows, uint64_t bytes,
                        uint64_t most_rows, uint64_t most_bytes) const;

  const Load& load() const;

  // The waiting jobs of a client.
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

  // Lets Next() find the line: enters it, and each ancestor that is missing, into its parent's
  // order.
  void EnterOrder(Node& line);
  void LeaveOrder(Node& line);

  const ClientWeights weights_;
  std::unique_ptr<Node> root_;
  std::vector<Node*> suspended_;
  uint64_t next_activation_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_FAIR_QUEUE_H_
