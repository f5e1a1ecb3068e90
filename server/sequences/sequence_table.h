// The sequences of one stream, and the requests that open, fork, roll back and close them. A
// request that fails changes nothing.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_TABLE_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_TABLE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/codec/row_codec.h"
#include "server/memory/ledger.h"
#include "server/sequences/sequence.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Not thread-safe.
class SequenceTable {
 public:
  // Nanoseconds that indexing and counting a token of a history may take.
  static constexpr uint64_t kTokenWork = 100;

  // All arguments must outlive the table.
  SequenceTable(const CallContext& call_context, const SequenceLimits& limits, Ledger* ledger)
      : call_context_(call_context), limits_(limits), ledger_(ledger) {}

  // Opens sequences. Adds their seeds to `answer`, in the order of the message, and their counts of
  // skipped ids if the message allows unknown ids. Asks `pace`, unless it is null; if this throws
  // Interrupted (sampler/rows/paced.h), nothing has changed.
  absl::Status Open(const v1::OpenSequences& message, Pace* pace, v1::SampleStreamResponse& answer);

  // Uses `pace` as Open() does. ForkWork() estimates the time in nanoseconds.
  absl::Status Fork(const v1::ForkSequence& message, Pace* pace);
  uint64_t ForkWork(const v1::ForkSequence& message) const;

  // Uses `pace` as Open() does, but if it is interrupted some of the tokens have been taken back.
  // RollbackWork() estimates the time in nanoseconds.
  absl::Status Rollback(const v1::RollbackSequence& message, Pace* pace);
  uint64_t RollbackWork(const v1::RollbackSequence& message) const;

  absl::Status Close(const v1::CloseSequences& message);

  // NotFound when the sequence is not open. The pointer is valid until the sequence is closed.
  absl::StatusOr<Sequence*> Find(uint64_t id) const;

 private:
  using Sequences = std::unordered_map<uint64_t, std::unique_ptr<Sequence>>;
  using Profiles = std::vector<std::shared_ptr<SequenceProfile>>;

  absl::StatusOr<Profiles> MakeProfiles(const v1::OpenSequences& message);
  absl::StatusOr<std::unique_ptr<Sequence>> MakeSequence(const v1::OpenSequences::Sequence& message,
                                                         const std::string& name, uint64_t seed,
                                                         bool skip_unknown_ids,
                                                         const Profiles& profiles, Pace* pace);
  absl::StatusOr<std::shared_ptr<SequencePrompt>> MakePrompt(
      const google::protobuf::RepeatedField<uint32_t>& ids, const SequenceProfile& profile,
      Pace* pace);
  absl::Status CheckNew(uint64_t id) const;

  // One above the highest stream of the open sequences that have this seed.
  uint32_t FreeStream(uint64_t seed) const;

  const CallContext& call_context_;
  const SequenceLimits& limits_;
  Ledger* const ledger_;
  Sequences sequences_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_TABLE_H_
