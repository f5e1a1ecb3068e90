// The changes to a row's values before the stages: masks, bans, bias, penalties. SPEC.md §8.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_ADJUSTMENTS_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_ADJUSTMENTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "sampler/arithmetic/data_type.h"
#include "sampler/repetition/repetition.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/pace.h"
#include "sampler/rows/token_set.h"
#include "sampler/sampler.h"

namespace token_sampler {

// True if an adjustment acts on the row.
bool HasAdjustments(const RowInput& row);

// Return the first parameter that is on and reads the history (HistoryReader), or only the output
// in it (OutputReader); "" if there is none.
absl::string_view HistoryReader(const SamplingParams& params);
absl::string_view OutputReader(const SamplingParams& params);

// Counts the ids of the history that are not below `vocab`.
uint32_t CountUnknownIds(const RowHistory& history, int64_t vocab);

// True if penalties read the history, and all adjustments that do need only RowHistory's sets and
// counts.
bool CountsSuffice(const SamplingParams& params);

// True if penalties read sets and counts even when there is an index of the history.
bool CountsBesideIndex(const SamplingParams& params);

// OK if all ids are below `vocab`; otherwise InvalidArgument names the first that is not, in
// `field`.
absl::Status CheckIds(absl::string_view field, absl::Span<const uint32_t> ids, int64_t vocab,
                      Pace* pace = nullptr);

// OK if the ids of the row's history are below vocab, or may be skipped, and the history has the
// order that the parameters need; otherwise an InvalidArgument error that names the field of the
// history. Takes time linear in the history unless there is an index. Asks `pace`, if there is one,
// and then may throw Interrupted (sampler/rows/paced.h), like all functions below that take a pace.
absl::Status CheckHistory(const RowInput& row, Pace* pace = nullptr);

// BansUnlisted: true if the row has allowed_ids or a bitmask. BanUnlisted removes the tokens that
// these leave out from the row's values, which were read as float32 with -0 made +0. It overwrites
// `allowed`.
bool BansUnlisted(const RowInput& row);
void BanUnlisted(const RowInput& row, TokenSet& allowed, absl::Span<float> values, Pace* pace);

// The lists of tokens on which the other adjustments act, in the order of SPEC.md §8. Reuses its
// memory from row to row.
class AdjustmentLists {
 public:
  // Collects the lists of `row`, whose history must have passed CheckHistory. They are valid until
  // the next call.
  void Collect(const RowInput& row, Pace* pace = nullptr);

  // Tokens that any rule bans before logit_bias acts; some may occur twice.
  const LargeVector<uint32_t>& banned() const { return banned_; }
  // Tokens on which repetition_penalty acts, each once; empty if it is off.
  const LargeVector<uint32_t>& repeated() const { return seen_.ids(); }
  // Tokens on which frequency_penalty and presence_penalty act, each once; empty if both are off.
  const LargeVector<uint32_t>& counted() const { return output_.ids(); }
  // The number of times that a token of counted() occurs.
  uint32_t CountOf(uint32_t id) const { return counts_[id]; }
  // Tokens that no_repeat_ngram_size bans, each once.
  const LargeVector<uint32_t>& repeating() const { return repeating_.ids(); }
  absl::Span<const DryPenalty> dry() const { return dry_; }

 private:
  void CollectBanned(const RowInput& row);
  void CollectPenalized(const SamplingParams& params, const RowHistory& history);
  void Count(uint32_t id, uint32_t count);
  // Collects ordered_. Of a history with an index it takes only the end that bad_words read.
  void CollectOrdered(const SamplingParams& params, const RowHistory& history);
  // Collects the tokens that would repeat an n-gram of this size; none if it is 0.
  void CollectRepeating(size_t ngram_size, const RowHistory& history);
  void CollectDry(const Dry& dry, const RowHistory& history);

  Pace* pace_ = nullptr;
  uint32_t vocab_ = 0;
  LargeVector<uint32_t> banned_;
  TokenSet seen_;
  TokenSet output_;
  LargeVector<uint32_t> counts_;  // per token; valid for those in output_
  TokenSet repeating_;
  LargeVector<uint32_t> ordered_;  // the history; each unknown id gets an id of its own
  RepetitionFinder repetitions_;
  absl::Span<const DryPenalty> dry_;
};

// Returns an upper bound of the number of tokens whose values TokenAdjuster changes.
size_t MostAdjustedTokens(const RowInput& row);

// The values that adjustments gave to some tokens of a row.
class ChangedTokens {
 public:
  // Starts with the values of `row`, none of them changed. The row must outlive this use of it.
  // Asks its pace.
  void Reset(const RowInput& row);

  const LargeVector<uint32_t>& ids() const { return ids_.ids(); }  // in any order, each once
  bool Has(uint32_t id) const { return ids_.Has(id); }
  float ValueOf(uint32_t id) const {
    return Has(id) ? values_[id] : LoadAsFloat(row_->values, row_->dtype, id) + 0.0f;
  }
  void Set(uint32_t id, float value) {
    ids_.Add(id);
    values_[id] = value + 0.0f;
  }

 private:
  const RowInput* row_ = nullptr;
  TokenSet ids_;
  LargeVector<float> values_;  // per token; valid for those in ids_
};

// Makes all adjustments except those of BanUnlisted. Reuses its memory from row to row.
class TokenAdjuster {
 public:
  // Returns the values of the tokens that adjustments change. `before` is `row` with the values
  // that BanUnlisted left; its history must have passed CheckHistory. A value may be +infinity,
  // when a penalty below 1 overflows. The result is valid until the next call. Asks row.pace.
  const ChangedTokens& Adjust(const RowInput& row, const RowInput& before);

 private:
  AdjustmentLists lists_;
  ChangedTokens changed_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_ADJUSTMENTS_H_
