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

// Removes tokens from a row: -infinity for logits, 0 for weights.
class Banner {
 public:
  Banner(InputKind kind, absl::Span<float> values)
      : values_(values), banned_(kind == InputKind::kLogits ? -kInfinity : 0.0f) {}

  void Ban(uint32_t id) { values_[id] = banned_; }
  void Ban(Ids ids) {
    for (const uint32_t id : ids) Ban(id);
  }

  void BanAllBut(Ids ids) {
    std::vector<bool> allowed(values_.size());
    for (const uint32_t id : ids) allowed[id] = true;
    for (uint32_t id = 0; id < values_.size(); ++id) {
      if (!allowed[id]) Ban(id);
    }
  }

  // One bit per token, 1 = allowed; bytes of little-endian words are in the order of the bits.
  void BanUnset(const uint8_t* bitmask) {
    for (uint32_t id = 0; id < values_.size(); ++id) {
      if (((bitmask[id / 8] >> (id % 8)) & 1) == 0) Ban(id);
    }
  }

 private:
  absl::Span<float> values_;
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

void BanBadWords(const std::vector<std::vector<uint32_t>>& bad_words, Ids history, Banner& banner) {
  for (const std::vector<uint32_t>& word : bad_words) {
    if (EndsWith(history, Ids(word.data(), word.size() - 1))) banner.Ban(word.back());
  }
}

void BanRepeatedNgrams(size_t size, Ids history, Banner& banner) {
  if (size == 1) banner.Ban(history);
  for (const RepeatedTail& tail : FindRepeatedTails(history)) {
    if (tail.length + 1 >= size) banner.Ban(tail.next_id);
  }
}

struct TokenCount {
  uint32_t id;
  uint32_t count;
};

// The distinct tokens of the output with how often each occurred.
std::vector<TokenCount> CountOutput(const RowHistory& history) {
  std::vector<TokenCount> counts;
  for (size_t i = 0; i < history.output_count_ids.size(); ++i) {
    counts.push_back({history.output_count_ids[i], history.output_counts[i]});
  }
  std::vector<uint32_t> ids(history.output_ids.begin(), history.output_ids.end());
  std::sort(ids.begin(), ids.end());
  for (const uint32_t id : ids) {
    if (counts.empty() || counts.back().id != id) counts.push_back({id, 0});
    ++counts.back().count;
  }
  return counts;
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

// Penalties in their order, each one float32 operation (two for the frequency penalty).
void Penalize(const SamplingParams& params, const RowHistory& history, absl::Span<float> values) {
  const std::vector<TokenCount> output = CountOutput(history);
  if (params.repetition_penalty != 1.0) {
    std::vector<uint32_t> seen(history.prompt_ids.begin(), history.prompt_ids.end());
    seen.insert(seen.end(), history.prompt_set.begin(), history.prompt_set.end());
    for (const TokenCount& token : output) seen.push_back(token.id);
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    const auto penalty = static_cast<float>(params.repetition_penalty);
    for (const uint32_t id : seen) {
      values[id] = values[id] > 0 ? values[id] / penalty : values[id] * penalty;
    }
  }
  const auto frequency = static_cast<float>(params.frequency_penalty);
  const auto presence = static_cast<float>(params.presence_penalty);
  for (const TokenCount& token : output) {
    values[token.id] -= frequency * static_cast<float>(token.count);
    values[token.id] -= presence;
  }
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
  return row.bitmask != nullptr || !params.allowed_ids.empty() || !params.banned_ids.empty() ||
         !params.bad_words.empty() || !params.logit_bias.empty() ||
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

void AdjustValues(const RowInput& row, absl::Span<float> values) {
  const SamplingParams& params = *row.params;
  const RowHistory& history = HistoryOf(row);
  Banner banner(row.kind, values);
  const bool dry = params.dry.multiplier > 0.0;
  const bool ordered_needed = params.no_repeat_ngram_size > 0 || !params.bad_words.empty() || dry;
  const std::vector<uint32_t> ordered = ordered_needed ? InOrder(history) : std::vector<uint32_t>();
  if (!params.allowed_ids.empty()) banner.BanAllBut(params.allowed_ids);
  if (row.bitmask != nullptr) banner.BanUnset(row.bitmask);
  banner.Ban(params.banned_ids);
  BanBadWords(params.bad_words, ordered, banner);
  if (row.key.step < params.min_tokens) banner.Ban(params.stop_ids);
  for (const TokenBias& bias : params.logit_bias) values[bias.token_id] += bias.value;
  if (HasPenalties(params)) Penalize(params, Newest(history, params.penalty_last_n), values);
  if (params.no_repeat_ngram_size > 0) {
    BanRepeatedNgrams(params.no_repeat_ngram_size, ordered, banner);
  }
  if (dry) {
    for (const DryPenalty& penalty : FindDryPenalties(params.dry, ordered)) {
      values[penalty.id] -= penalty.value;
    }
  }
  for (float& value : values) value += 0.0f;
}

}  // namespace token_sampler
