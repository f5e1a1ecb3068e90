// What is done to the logits before the stages: masks, bans, bias, penalties. SPEC.md §8.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_ADJUSTMENTS_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_ADJUSTMENTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "sampler/arithmetic/data_type.h"
#include "sampler/repetition/repetition.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/pace.h"
#include "sampler/rows/token_set.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Whether anything is to be done to the row.
bool HasAdjustments(const RowInput& row);

// The first parameter that is on and looks at the history, or at its output and not at its prompt;
// empty: none is.
absl::string_view HistoryReader(const SamplingParams& params);
absl::string_view OutputReader(const SamplingParams& params);

// How many ids of the history are not below `vocab`.
uint32_t CountUnknownIds(const RowHistory& history, int64_t vocab);

// Whether adjustments look at the history, and need no more of it than RowHistory's sets and
// counts.
bool CountsSuffice(const SamplingParams& params);

// True when sets and counts are given besides an index of the history.
bool CountsBesideIndex(const SamplingParams& params);

// Empty when the row's history has what its parameters need and its ids are below vocab or may be
// skipped; else what is wrong. Cheap where there are no adjustments. Asks `pace` meanwhile, if any,
// and then may throw Interrupted (sampler/rows/paced.h), as all below that take one.
std::string CheckHistory(const RowInput& row, Pace* pace = nullptr);

// Removes the tokens that the row's allowed_ids and bitmask leave out from its values, read as
// float32 with -0 made +0; BansUnlisted: whether it has either. `allowed` is overwritten.
bool BansUnlisted(const RowInput& row);
void BanUnlisted(const RowInput& row, TokenSet& allowed, absl::Span<float> values, Pace* pace);

// The tokens on which the other adjustments act, in the order of SPEC.md §8. Reuses its memory from
// row to row.
class AdjustmentLists {
 public:
  // Of `row`, whose history must have passed CheckHistory. Lists hold until the next call.
  void Collect(const RowInput& row, Pace* pace = nullptr);

  // Banned before logit_bias, by whichever rule, maybe twice.
  const LargeVector<uint32_t>& banned() const { return banned_; }
  // Those that repetition_penalty acts on, each once; empty without one.
  const LargeVector<uint32_t>& repeated() const { return seen_.ids(); }
  // Those that frequency_penalty and presence_penalty act on, each once; empty without either.
  const LargeVector<uint32_t>& counted() const { return output_.ids(); }
  // How often one of them occurs.
  uint32_t CountOf(uint32_t id) const { return counts_[id]; }
  // Banned by no_repeat_ngram_size, each once.
  const LargeVector<uint32_t>& repeating() const { return repeating_.ids(); }
  absl::Span<const DryPenalty> dry() const { return dry_; }

 private:
  void CollectBanned(const RowInput& row);
  void CollectPenalized(const SamplingParams& params, const RowHistory& history);
  void Count(uint32_t id, uint32_t count);
  // An indexed history gives only the end that bad_words look at.
  void CollectOrdered(const SamplingParams& params, const RowHistory& history);
  // Collects what would repeat n-grams of that size; 0: nothing.
  void CollectRepeating(size_t ngram_size, const RowHistory& history);
  void CollectDry(const Dry& dry, const RowHistory& history);

  Pace* pace_ = nullptr;
  uint32_t vocab_ = 0;
  LargeVector<uint32_t> banned_;
  TokenSet seen_;
  TokenSet output_;
  LargeVector<uint32_t> counts_;  // per token; those of output_ mean something
  TokenSet repeating_;
  LargeVector<uint32_t> ordered_;  // the history, in which each unknown id is one of its own
  RepetitionFinder repetitions_;
  absl::Span<const DryPenalty> dry_;
};

// An upper bound of the tokens that they hold.
size_t MostAdjustedTokens(const RowInput& row);

// The values that adjustments gave to some tokens of a row.
class ChangedTokens {
 public:
  // No token of the row, which must outlive its use here, is changed. Asks its pace.
  void Reset(const RowInput& row);

  const LargeVector<uint32_t>& ids() const { return ids_.ids(); }  // in no order, none twice
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
  LargeVector<float> values_;  // per token; those of ids_ mean something
};

// All other adjustments. Reuses its memory from row to row.
class TokenAdjuster {
 public:
  // Adjusts `row`, which as BanUnlisted left it is `before`. The history must have passed
  // CheckHistory. Afterwards a value may be +infinity, when a penalty below 1 overflows. The result
  // holds until the next call. Asks row.pace.
  const ChangedTokens& Adjust(const RowInput& row, const RowInput& before);

 private:
  AdjustmentLists lists_;
  ChangedTokens changed_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_ADJUSTMENTS_H_
