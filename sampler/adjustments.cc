#include "sampler/adjustments.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sampler/repetition.h"

namespace token_sampler {
namespace {

using Ids = absl::Span<const uint32_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const RowHistory kNoHistory;

const RowHistory& HistoryOf(const RowInput& row) {
  return row.history == nullptr ? kNoHistory : *row.history;
}

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0 || params.frequency_penalty != 0.0 ||
         params.presence_penalty != 0.0;
}

// Whether the order of the history's tokens counts.
bool NeedsOrder(const SamplingParams& params) {
  return params.no_repeat_ngram_size > 0 || params.dry.multiplier > 0.0 ||
         (HasPenalties(params) && params.penalty_last_n > 0) ||
         std::any_of(params.bad_words.begin(), params.bad_words.end(),
                     [](const std::vector<uint32_t>& word) { return word.size() > 1; });
}

bool NeedsHistory(const SamplingParams& params) {
  return HasPenalties(params) || NeedsOrder(params);
}

// The value of a token that is never drawn.
float BannedValue(InputKind kind) { return kind == InputKind::kLogits ? -kInfinity : 0.0f; }

void BanAllBut(Ids ids, float banned, absl::Span<float> values) {
  std::vector<bool> allowed(values.size());
  for (const uint32_t id : ids) allowed[id] = true;
  for (size_t id = 0; id < values.size(); ++id) {
    if (!allowed[id]) values[id] = banned;
  }
}

// One bit per token, 1 = allowed; bytes of little-endian words are in the order of the bits.
void BanUnset(const uint8_t* bitmask, float banned, absl::Span<float> values) {
  for (size_t first = 0; first < values.size(); first += 8) {
    const uint8_t allowed = bitmask[first / 8];
    if (allowed == 0xff) continue;
    const absl::Span<float> eight = values.subspan(first, 8);
    for (size_t i = 0; i < eight.size(); ++i) {
      if ((allowed >> i & 1) == 0) eight[i] = banned;
    }
  }
}

// Changes single tokens of a row.
class TokenEditor {
 public:
  TokenEditor(InputKind kind, ChangedTokens& changed)
      : changed_(changed), banned_(BannedValue(kind)) {}

  float ValueOf(uint32_t id) const { return changed_.ValueOf(id); }
  void Set(uint32_t id, float value) { changed_.Set(id, value); }

  void Ban(uint32_t id) { Set(id, banned_); }
  void Ban(Ids ids) {
    for (const uint32_t id : ids) Ban(id);
  }

 private:
  ChangedTokens& changed_;
  float banned_;
};

std::vector<uint32_t> InOrder(const RowHistory& history) {
  std::vector<uint32_t> ids(history.prompt_ids.begin(), history.prompt_ids.end());
  ids.insert(ids.end(), history.output_ids.begin(), history.output_ids.end());
  return ids;
}

bool EndsWith(Ids history, Ids tail) {
  return history.size() >= tail.size() &&
         std::equal(tail.begin(), tail.end(), history.end() - tail.size());
}

void BanBadWords(const std::vector<std::vector<uint32_t>>& bad_words, Ids history,
                 TokenEditor& editor) {
  for (const std::vector<uint32_t>& word : bad_words) {
    if (EndsWith(history, Ids(word.data(), word.size() - 1))) editor.Ban(word.back());
  }
}

void BanRepeatedNgrams(size_t size, Ids history, TokenEditor& editor) {
  if (size == 1) editor.Ban(history);
  for (const RepeatedTail& tail : FindRepeatedTails(history)) {
    if (tail.length + 1 >= size) editor.Ban(tail.next_id);
  }
}

// The part of the history that penalties look at.
RowHistory Newest(const RowHistory& history, int32_t last_n) {
  if (last_n < 0) return history;
  RowHistory newest;
  auto left = static_cast<size_t>(last_n);
  newest.output_ids = history.output_ids.last(std::min(left, history.output_ids.size()));
  left -= newest.output_ids.size();
  newest.prompt_ids = history.prompt_ids.last(std::min(left, history.prompt_ids.size()));
  return newest;
}

std::string CheckIds(absl::string_view name, Ids ids, int64_t vocab) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= vocab) {
      return absl::StrCat(name, "[", i, "] must be below the vocabulary of ", vocab, ", got ",
                          ids[i]);
    }
  }
  return "";
}

}  // namespace

bool HasAdjustments(const RowInput& row) {
  const SamplingParams& params = *row.params;
  return BansUnlisted(row) || !params.banned_ids.empty() || !params.bad_words.empty() ||
         !params.logit_bias.empty() ||
         (row.key.step < params.min_tokens && !params.stop_ids.empty()) || NeedsHistory(params);
}

std::string CheckHistory(const RowInput& row) {
  const RowHistory& history = HistoryOf(row);
  for (std::string error : {CheckIds("prompt_ids", history.prompt_ids, row.vocab),
                            CheckIds("output_ids", history.output_ids, row.vocab),
                            CheckIds("prompt_set", history.prompt_set, row.vocab),
                            CheckIds("output_counts", history.output_count_ids, row.vocab)}) {
    if (!error.empty()) return error;
  }
  const bool unordered = !history.prompt_set.empty() || !history.output_count_ids.empty();
  if (unordered && NeedsOrder(*row.params)) {
    return "prompt_set and output_counts have no order, which bad_words of several tokens, "
           "no_repeat_ngram_size, dry and penalty_last_n need: send prompt_ids and output_ids";
  }
  return "";
}

bool BansUnlisted(const RowInput& row) {
  return row.bitmask != nullptr || !row.params->allowed_ids.empty();
}

void BanUnlisted(const RowInput& row, absl::Span<float> values) {
  const Ids allowed = row.params->allowed_ids;
  const float banned = BannedValue(row.kind);
  if (!allowed.empty()) BanAllBut(allowed, banned, values);
  if (row.bitmask != nullptr) BanUnset(row.bitmask, banned, values);
}

void ChangedTokens::Reset(const RowInput& row) {
  row_ = &row;
  ids_.Reset(row.vocab);
  if (row.vocab <= capacity_) return;
  values_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(row.vocab));
  capacity_ = row.vocab;
}

void TokenAdjuster::RepetitionPenalty(float penalty, Ids ids) {
  for (const uint32_t id : ids) {
    if (!seen_.Add(id)) continue;
    const float value = changed_.ValueOf(id);
    changed_.Set(id, value > 0 ? value / penalty : value * penalty);
  }
}

void TokenAdjuster::Count(uint32_t id, uint32_t count) {
  if (output_.Add(id)) counts_[id] = 0;
  counts_[id] += count;
}

void TokenAdjuster::Penalize(const SamplingParams& params, const RowHistory& history) {
  if (params.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(params.repetition_penalty);
    RepetitionPenalty(penalty, history.prompt_ids);
    RepetitionPenalty(penalty, history.prompt_set);
    RepetitionPenalty(penalty, history.output_ids);
    RepetitionPenalty(penalty, history.output_count_ids);
  }
  if (params.frequency_penalty == 0.0 && params.presence_penalty == 0.0) return;
  for (const uint32_t id : history.output_ids) Count(id, 1);
  for (size_t i = 0; i < history.output_count_ids.size(); ++i) {
    Count(history.output_count_ids[i], history.output_counts[i]);
  }
  const auto frequency = static_cast<float>(params.frequency_penalty);
  const auto presence = static_cast<float>(params.presence_penalty);
  for (const uint32_t id : output_.ids()) {
    const float less_frequency = changed_.ValueOf(id) - frequency * static_cast<float>(counts_[id]);
    changed_.Set(id, less_frequency - presence);
  }
}

const ChangedTokens& TokenAdjuster::Adjust(const RowInput& row, const RowInput& before) {
  changed_.Reset(before);
  const SamplingParams& params = *row.params;
  const RowHistory& history = HistoryOf(row);
  TokenEditor editor(row.kind, changed_);
  const bool dry = params.dry.multiplier > 0.0;
  const bool ordered_needed = params.no_repeat_ngram_size > 0 || !params.bad_words.empty() || dry;
  const std::vector<uint32_t> ordered = ordered_needed ? InOrder(history) : std::vector<uint32_t>();
  editor.Ban(params.banned_ids);
  BanBadWords(params.bad_words, ordered, editor);
  if (row.key.step < params.min_tokens) editor.Ban(params.stop_ids);
  for (const TokenBias& bias : params.logit_bias) {
    editor.Set(bias.token_id, editor.ValueOf(bias.token_id) + bias.value);
  }
  if (HasPenalties(params)) {
    seen_.Reset(row.vocab);
    output_.Reset(row.vocab);
    if (counts_.size() < static_cast<size_t>(row.vocab)) {
      counts_.resize(static_cast<size_t>(row.vocab));
    }
    Penalize(params, Newest(history, params.penalty_last_n));
  }
  if (params.no_repeat_ngram_size > 0) {
    BanRepeatedNgrams(params.no_repeat_ngram_size, ordered, editor);
  }
  if (dry) {
    for (const DryPenalty& penalty : FindDryPenalties(params.dry, ordered)) {
      editor.Set(penalty.id, editor.ValueOf(penalty.id) - penalty.value);
    }
  }
  return changed_;
}

}  // namespace token_sampler
