// A sequence that lives in the server between the steps of a stream: how it was opened, and its
// state after the tokens since.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "sampler/repetition/repetition_index.h"
#include "sampler/rows/pace.h"
#include "sampler/sampler.h"
#include "server/memory/ledger.h"
#include "server/sequences/token_counts.h"

namespace token_sampler {

struct SequenceLimits {
  uint64_t max_tokens = uint64_t{1} << 20;  // of one sequence's prompt and output
  uint64_t max_bytes = uint64_t{1} << 30;   // of all sequences together
};

// A stateful sequence keeps the states before its newest tokens: it can be rolled back by this
// many.
inline constexpr size_t kMaxStatefulRollback = 64;

// Parameters that sequences share, for rows of `vocab` values, with one draw per step.
struct SequenceProfile {
  explicit SequenceProfile(Ledger* ledger) : memory(ledger, Account::kSequences) {}

  // Returns whether the parameters are valid for rows of the kind. Checks each kind only once.
  const absl::Status& Check(InputKind kind);

  // True when penalties use the set of the prompt's ids and counts of the output's.
  bool KeepsCounts() const;

  SamplingParams params;
  std::optional<RepetitionRules> repetition_rules;  // set if they apply: then histories are indexed
  std::string name;                                 // for messages: "open.params[2]"
  int64_t vocab = 0;
  std::optional<absl::Status> checked[2];  // by InputKind
  MemoryGrant memory;
};

// Fills `different`, which must be empty, with the ids of `ids`, each once, in ascending order.
// Uses `pace` as Sequence::Create() does. ResourceExhausted when `memory` cannot grow by what this
// needs meanwhile.
absl::Status FindDifferent(absl::Span<const uint32_t> ids, Pace* pace, MemoryGrant& memory,
                           std::vector<uint32_t>& different);

// Appends `from` to `ids`. Uses `pace` as Sequence::Create() does.
void AppendIds(absl::Span<const uint32_t> from, Pace* pace, std::vector<uint32_t>& ids);

// A prompt, which forks share.
struct SequencePrompt {
  explicit SequencePrompt(Ledger* ledger) : memory(ledger, Account::kSequences) {}

  std::vector<uint32_t> ids;
  std::vector<uint32_t> set;             // each id once, when the profile keeps counts
  std::optional<RepetitionIndex> index;  // when the profile has rules for one
  MemoryGrant memory;
};

// Not thread-safe. What FillRow() makes a row point to stays in place until the sequence changes.
class Sequence {
 public:
  struct Start {
    std::shared_ptr<SequenceProfile> profile;
    std::shared_ptr<const SequencePrompt> prompt;
    RowKey key;  // of the next token
    std::vector<uint32_t> output_ids;
    RowState state;
    bool skip_unknown_ids = false;  // see RowHistory
  };

  // ResourceExhausted when the budget does not allow the sequence. `limits` must outlive it. Asks
  // `pace`, unless it is null, and may then throw Interrupted (sampler/rows/paced.h).
  static absl::StatusOr<std::unique_ptr<Sequence>> Create(Start start, const SequenceLimits& limits,
                                                          Ledger* ledger, Pace* pace);

  SequenceProfile& profile() const { return *start_.profile; }
  const RowKey& key() const { return start_.key; }

  // Makes room for one more token. ResourceExhausted when the sequence has limits.max_tokens
  // already, or the budget does not allow it.
  absl::Status ReserveToken();

  // Sets the parameters, key, history and state of `row` to the sequence's. The row's values stay.
  void FillRow(RowInput& row);

  // Appends the token that was drawn, and advances key and state. ReserveToken() must have made
  // room.
  void Append(const RowResult& result);

  // True when the newest output token is one of the parameters' stop_ids.
  bool Finished() const;

  // Takes back the newest tokens. OutOfRange, without any change, unless `num_tokens` is in [1, the
  // most that can be taken back]. Asks `pace`, unless it is null; if this throws Interrupted
  // (sampler/rows/paced.h), some of the tokens have been taken back.
  absl::Status Rollback(uint32_t num_tokens, Pace* pace);

  // A copy of the sequence that draws from the generator's stream `stream`. Shares the prompt and
  // the profile. Errors and `pace` as in Create().
  absl::StatusOr<std::unique_ptr<Sequence>> Fork(uint32_t stream, Ledger* ledger, Pace* pace) const;

  size_t output_tokens() const { return start_.output_ids.size(); }

 private:
  Sequence(Start start, const SequenceLimits& limits, Ledger* ledger)
      : limits_(limits), start_(std::move(start)), memory_(ledger, Account::kSequences) {}

  size_t MaxRollback() const;
  HistoryIds ids() const { return {start_.prompt->ids, start_.output_ids}; }

  // Creates index_ if the prompt has an index.
  absl::Status IndexOutput(Pace* pace);

  // Fills counts_ if the profile keeps counts.
  absl::Status CountOutput(Pace* pace);

  // Makes room for `count` tokens in counts_.
  absl::Status ReserveCounts(size_t count);

  const SequenceLimits& limits_;
  Start start_;                           // brought up to date: as if opened now
  std::vector<RowState> earlier_states_;  // before each of the newest tokens, when stateful
  TokenCounts counts_;                    // of output_ids, when the profile keeps them
  std::optional<RepetitionIndex> index_;  // of output_ids, when the prompt has one
  RowHistory history_;
  MemoryGrant memory_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_H_
