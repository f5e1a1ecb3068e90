// A sequence that lives in the server between the steps of a stream: what it was opened with, and
// what its tokens have made of it since.

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
#include "sampler/pace.h"
#include "sampler/repetition_index.h"
#include "sampler/sampler.h"
#include "server/memory/ledger.h"
#include "server/sequences/token_counts.h"

namespace token_sampler {

struct SequenceLimits {
  uint64_t max_tokens = uint64_t{1} << 20;  // of one sequence's prompt and output
  uint64_t max_bytes = uint64_t{1} << 30;   // of all sequences together
};

// A stateful sequence can be rolled back by so many tokens: it keeps the states before them.
inline constexpr size_t kMaxStatefulRollback = 64;

// Parameters that sequences share, for rows of one length. One draw per step.
struct SequenceProfile {
  explicit SequenceProfile(Ledger* ledger) : memory(ledger, Account::kSequences) {}

  // Whether the parameters fit rows of the kind. Checked once.
  const absl::Status& Check(InputKind kind);

  // True when penalties go by sets and counts.
  bool KeepsCounts() const;

  SamplingParams params;
  std::optional<RepetitionRules> repetition_rules;  // where they apply: histories are indexed
  std::string name;                                 // for messages: "open.params[2]"
  int64_t vocab = 0;
  std::optional<absl::Status> checked[2];  // by InputKind
  MemoryGrant memory;
};

// Makes `different` those of `ids`, each once, in ascending order. Takes a pace as
// Sequence::Create. ResourceExhausted when `memory` does not grow by what it needs meanwhile.
absl::Status FindDifferent(absl::Span<const uint32_t> ids, Pace* pace, MemoryGrant& memory,
                           std::vector<uint32_t>& different);

// Copies `from` to the end of `ids`. Takes a pace likewise.
void AppendIds(absl::Span<const uint32_t> from, Pace* pace, std::vector<uint32_t>& ids);

// Token ids that forks share.
struct SequencePrompt {
  explicit SequencePrompt(Ledger* ledger) : memory(ledger, Account::kSequences) {}

  std::vector<uint32_t> ids;
  std::vector<uint32_t> set;             // each id once, when the profile keeps counts
  std::optional<RepetitionIndex> index;  // when the profile has rules for one
  MemoryGrant memory;
};

// Not thread-safe. What Row points to stays in place while the sequence is not changed.
class Sequence {
 public:
  struct Start {
    std::shared_ptr<SequenceProfile> profile;
    std::shared_ptr<const SequencePrompt> prompt;
    RowKey key;  // of the next token
    std::vector<uint32_t> output_ids;
    RowState state;
    bool skip_unknown_ids = false;  // as RowHistory's
  };

  // ResourceExhausted when the budget does not allow it. `limits` must outlive the sequence. Asks
  // `pace`, if any, and may throw Interrupted (sampler/paced.h).
  static absl::StatusOr<std::unique_ptr<Sequence>> Create(Start start, const SequenceLimits& limits,
                                                          Ledger* ledger, Pace* pace);

  SequenceProfile& profile() const { return *start_.profile; }
  const RowKey& key() const { return start_.key; }

  // Makes room for one more token. ResourceExhausted when the sequence has its most tokens, or the
  // budget does not allow it.
  absl::Status ReserveToken();

  // Gives a row that has its values the sequence's parameters, key, history and state.
  void FillRow(RowInput& row);

  // Goes on by the token that was drawn. There must be room for it.
  void Append(const RowResult& result);

  // Whether the newest token is one of the parameters' stop_ids.
  bool Finished() const;

  // Takes back the newest tokens. OutOfRange for more than are kept; then nothing changes. Asks
  // `pace`, if any; when it throws Interrupted (sampler/paced.h) it has taken back some of them.
  absl::Status Rollback(uint32_t num_tokens, Pace* pace);

  // The same sequence again, drawing from the generator `stream`. Takes a pace as Create.
  absl::StatusOr<std::unique_ptr<Sequence>> Fork(uint32_t stream, Ledger* ledger, Pace* pace) const;

  size_t output_tokens() const { return start_.output_ids.size(); }

 private:
  Sequence(Start start, const SequenceLimits& limits, Ledger* ledger)
      : limits_(limits), start_(std::move(start)), memory_(ledger, Account::kSequences) {}

  size_t MaxRollback() const;
  HistoryIds ids() const { return {start_.prompt->ids, start_.output_ids}; }

  // Makes index_ where the prompt has one.
  absl::Status IndexOutput(Pace* pace);

  // Makes counts_.
  absl::Status CountOutput(Pace* pace);

  // Makes room for `count` tokens in counts_.
  absl::Status ReserveCounts(size_t count);

  const SequenceLimits& limits_;
  Start start_;                           // as if it had been opened now
  std::vector<RowState> earlier_states_;  // before each of the newest tokens, when stateful
  TokenCounts counts_;                    // of output_ids, when the profile keeps them
  std::optional<RepetitionIndex> index_;  // of output_ids, when the prompt has one
  RowHistory history_;
  MemoryGrant memory_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_H_
