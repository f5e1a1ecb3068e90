#include "sampler/rows/adjustments.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sampler/rows/paced.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

using Ids = absl::Span<const uint32_t>;

const RowHistory kNoHistory;

const RowHistory& HistoryOf(const RowInput& row) {
  return row.history == nullptr ? kNoHistory : *row.history;
}

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0 || params.frequency_penalty != 0.0 ||
         params.presence_penalty != 0.0;
}

bool HasLongBadWords(const SamplingParams& params) {
  return std::any_of(params.bad_words.begin(), params.bad_words.end(),
                     [](const std::vector<uint32_t>& word) { return word.size() > 1; });
}

// True if an adjustment depends on the order of the history's tokens.
bool NeedsOrder(const SamplingParams& params) {
  return params.no_repeat_ngram_size > 0 || params.dry.multiplier > 0.0 ||
         (HasPenalties(params) && params.penalty_last_n > 0) || HasLongBadWords(params);
}

bool NeedsHistory(const SamplingParams& params) { return !HistoryReader(params).empty(); }

void BanAllBut(const TokenSet& allowed, float banned, absl::Span<float> values, Pace* pace) {
  ForEachPaced(pace, values.size(), [&](size_t id) {
    if (!allowed.Has(static_cast<uint32_t>(id))) values[id] = banned;
  });
}

// `bitmask` has one bit per token, 1 = allowed. Its words are little-endian, so its bytes are in
// the order of the bits.
void BanUnset(const uint8_t* bitmask, float banned, absl::Span<float> values, Pace* pace) {
  ForEachPaced(pace, (values.size() + 7) / 8, [&](size_t byte) {
    const uint8_t allowed = bitmask[byte];
    if (allowed == 0xff) return;
    const absl::Span<float> eight = values.subspan(byte * 8, 8);
    for (size_t i = 0; i < eight.size(); ++i) {
      if ((allowed >> i & 1) == 0) eight[i] = banned;
    }
  });
}

bool EndsWith(Ids history, Ids tail) {
  return history.size() >= tail.size() &&
         std::equal(tail.begin(), tail.end(), history.end() - tail.size());
}

void AddBadWords(const std::vector<std::vector<uint32_t>>& bad_words, Ids history, Pace* pace,
                 LargeVector<uint32_t>& banned) {
  ForEachScattered(pace, bad_words.size(), [&](size_t i) {
    const std::vector<uint32_t>& word = bad_words[i];
    if (EndsWith(history, Ids(word.data(), word.size() - 1))) banned.push_back(word.back());
  });
}

// Appends `from` to `ids`.
template <class Vector>
void AppendIds(Pace* pace, Ids from, Vector& ids) {
  ids.reserve(ids.size() + from.size());
  InPieces(pace, from.size(), kPieceItems * 8, [&](size_t begin, size_t end) {
    ids.insert(ids.end(), from.data() + begin, from.data() + end);
  });
}

// Returns the last `last_n` tokens of the history; all of it if `last_n` is negative.
RowHistory Newest(const RowHistory& history, int64_t last_n) {
  if (last_n < 0) return history;
  RowHistory newest;
  auto left = static_cast<size_t>(last_n);
  newest.output_ids = history.output_ids.last(std::min(left, history.output_ids.size()));
  left -= newest.output_ids.size();
  newest.prompt_ids = history.prompt_ids.last(std::min(left, history.prompt_ids.size()));
  return newest;
}

RowHistory Penalized(const RowHistory& history, const SamplingParams& params) {
  RowHistory penalized = Newest(history, params.penalty_last_n);
  if (history.index != nullptr && CountsBesideIndex(params)) {
    penalized.prompt_ids = {};
    penalized.output_ids = {};
  }
  return penalized;
}

IndexedHistory Indexed(const RowHistory& history) {
  return {{history.prompt_ids, history.output_ids}, *history.index};
}

}  // namespace

bool HasAdjustments(const RowInput& row) {
  const SamplingParams& params = *row.params;
  return BansUnlisted(row) || !params.banned_ids.empty() || !params.bad_words.empty() ||
         !params.logit_bias.empty() ||
         (row.key.step < params.min_tokens && !params.stop_ids.empty()) || NeedsHistory(params);
}

absl::string_view OutputReader(const SamplingParams& params) {
  if (params.penalty_last_n == 0) return "";
  if (params.frequency_penalty != 0.0) return "frequency_penalty";
  return params.presence_penalty != 0.0 ? "presence_penalty" : "";
}

absl::string_view HistoryReader(const SamplingParams& params) {
  if (params.repetition_penalty != 1.0 && params.penalty_last_n != 0) return "repetition_penalty";
  if (const absl::string_view reader = OutputReader(params); !reader.empty()) return reader;
  if (params.no_repeat_ngram_size > 0) return "no_repeat_ngram_size";
  if (params.dry.multiplier > 0.0 && params.dry.last_n != 0) return "dry";
  return HasLongBadWords(params) ? "bad_words" : "";
}

uint32_t CountUnknownIds(const RowHistory& history, int64_t vocab) {
  int64_t count = 0;
  for (const Ids ids :
       {history.prompt_ids, history.output_ids, history.prompt_set, history.output_count_ids}) {
    count += std::count_if(ids.begin(), ids.end(), [vocab](uint32_t id) { return id >= vocab; });
  }
  return static_cast<uint32_t>(count);
}

bool CountsSuffice(const SamplingParams& params) {
  return HasPenalties(params) && !NeedsOrder(params) && params.penalty_last_n < 0;
}

bool CountsBesideIndex(const SamplingParams& params) {
  return HasPenalties(params) && params.penalty_last_n < 0;
}

absl::Status CheckIds(absl::string_view field, absl::Span<const uint32_t> ids, int64_t vocab,
                      Pace* pace) {
  absl::Status status;
  InPieces(pace, ids.size(), kPieceItems * 8, [&](size_t begin, size_t end) {
    if (!status.ok()) return;
    // Find the largest first: that needs no branch per id.
    uint32_t largest = 0;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, ids[i]);
    if (largest < vocab) return;
    size_t first = begin;
    while (ids[first] < vocab) ++first;
    status = absl::InvalidArgumentError(absl::StrCat(
        field, "[", first, "] must be below the vocabulary of ", vocab, ", got ", ids[first]));
  });
  return status;
}

absl::Status CheckHistory(const RowInput& row, Pace* pace) {
  const RowHistory& history = HistoryOf(row);
  if (history.index != nullptr) return absl::OkStatus();
  if (!history.skip_unknown_ids) {
    RETURN_IF_ERROR(CheckIds("prompt_ids", history.prompt_ids, row.vocab, pace));
    RETURN_IF_ERROR(CheckIds("output_ids", history.output_ids, row.vocab, pace));
    RETURN_IF_ERROR(CheckIds("prompt_set", history.prompt_set, row.vocab, pace));
    RETURN_IF_ERROR(CheckIds("output_counts", history.output_count_ids, row.vocab, pace));
  }
  const bool unordered = !history.prompt_set.empty() || !history.output_count_ids.empty();
  if (unordered && NeedsOrder(*row.params)) {
    return absl::InvalidArgumentError(
        "prompt_set and output_counts have no order, which bad_words of several tokens, "
        "no_repeat_ngram_size, dry and penalty_last_n need: send prompt_ids and output_ids");
  }
  return absl::OkStatus();
}

bool BansUnlisted(const RowInput& row) {
  return row.bitmask != nullptr || !row.params->allowed_ids.empty();
}

void BanUnlisted(const RowInput& row, TokenSet& allowed, absl::Span<float> values, Pace* pace) {
  const float banned = ImpossibleValue(row.kind);
  const std::vector<uint32_t>& ids = row.params->allowed_ids;
  if (!ids.empty()) {
    allowed.Reset(row.vocab, pace);
    ForEachPaced(pace, ids.size(), [&](size_t i) { allowed.Add(ids[i]); });
    BanAllBut(allowed, banned, values, pace);
  }
  if (row.bitmask != nullptr) BanUnset(row.bitmask, banned, values, pace);
}

void ChangedTokens::Reset(const RowInput& row) {
  row_ = &row;
  ids_.Reset(row.vocab, row.pace);
  // Set() writes values in any order. If it touched their memory for the first time, a piece of
  // work would take too long.
  const auto vocab = static_cast<size_t>(row.vocab);
  if (vocab > values_.size()) ResizePaced(row.pace, vocab, values_);
}

void AdjustmentLists::Count(uint32_t id, uint32_t count) {
  if (id >= vocab_) return;
  if (output_.Add(id)) counts_[id] = 0;
  counts_[id] += count;
}

void AdjustmentLists::CollectPenalized(const SamplingParams& params, const RowHistory& history) {
  if (params.repetition_penalty != 1.0) {
    for (const Ids ids :
         {history.prompt_ids, history.prompt_set, history.output_ids, history.output_count_ids}) {
      ForEachPaced(pace_, ids.size(), [&](size_t i) {
        if (ids[i] < vocab_) seen_.Add(ids[i]);
      });
    }
  }
  if (params.frequency_penalty == 0.0 && params.presence_penalty == 0.0) return;
  ForEachScattered(pace_, history.output_ids.size(),
                   [&](size_t i) { Count(history.output_ids[i], 1); });
  ForEachScattered(pace_, history.output_count_ids.size(),
                   [&](size_t i) { Count(history.output_count_ids[i], history.output_counts[i]); });
}

void AdjustmentLists::CollectOrdered(const SamplingParams& params, const RowHistory& history) {
  RowHistory read = history;
  if (history.index != nullptr) {
    size_t longest = 0;
    for (const std::vector<uint32_t>& word : params.bad_words) {
      longest = std::max(longest, word.size());
    }
    read = Newest(history, static_cast<int64_t>(longest));
  }
  ordered_.reserve(read.prompt_ids.size() + read.output_ids.size());
  AppendIds(pace_, read.prompt_ids, ordered_);
  AppendIds(pace_, read.output_ids, ordered_);
  if (!history.skip_unknown_ids) return;
  // Give unknown ids distinct values: they equal nothing, and so do not repeat.
  uint32_t next = vocab_;
  ForEachPaced(pace_, ordered_.size(), [&](size_t i) {
    if (ordered_[i] >= vocab_) ordered_[i] = next++;
  });
}

void AdjustmentLists::CollectBanned(const RowInput& row) {
  const SamplingParams& params = *row.params;
  banned_.clear();
  banned_.reserve(params.banned_ids.size() + params.bad_words.size() + params.stop_ids.size());
  AppendIds(pace_, params.banned_ids, banned_);
  AddBadWords(params.bad_words, ordered_, pace_, banned_);
  if (row.key.step < params.min_tokens) AppendIds(pace_, params.stop_ids, banned_);
}

void AdjustmentLists::CollectRepeating(size_t ngram_size, const RowHistory& history) {
  repeating_.Reset(vocab_, pace_);
  if (ngram_size == 0) return;
  if (ngram_size == 1) {
    for (const Ids ids : {history.prompt_ids, history.output_ids}) {
      ForEachPaced(pace_, ids.size(), [&](size_t i) {
        if (ids[i] < vocab_) repeating_.Add(ids[i]);
      });
    }
    return;
  }
  const auto add = [&](uint32_t next_id, size_t length) {
    if (length + 1 >= ngram_size && next_id < vocab_) repeating_.Add(next_id);
  };
  if (history.index != nullptr) {
    repetitions_.VisitTails(Indexed(history), 0, pace_, add);
  } else {
    repetitions_.VisitTails(ordered_, pace_, add);
  }
}

void AdjustmentLists::CollectDry(const Dry& dry, const RowHistory& history) {
  dry_ = {};
  if (dry.multiplier == 0.0) return;
  dry_ = history.index != nullptr
             ? repetitions_.FindDryPenalties(dry, Indexed(history), vocab_, pace_)
             : repetitions_.FindDryPenalties(dry, ordered_, vocab_, pace_);
}

void AdjustmentLists::Collect(const RowInput& row, Pace* pace) {
  const SamplingParams& params = *row.params;
  const RowHistory& history = HistoryOf(row);
  pace_ = pace;
  vocab_ = static_cast<uint32_t>(row.vocab);
  ordered_.clear();
  if (params.no_repeat_ngram_size > 0 || !params.bad_words.empty() || params.dry.multiplier > 0.0) {
    CollectOrdered(params, history);
  }
  CollectBanned(row);
  CollectRepeating(params.no_repeat_ngram_size, history);
  seen_.Reset(row.vocab, pace);
  output_.Reset(row.vocab, pace);
  if (HasPenalties(params)) {
    ResizePaced(pace, std::max(counts_.size(), static_cast<size_t>(row.vocab)), counts_);
    CollectPenalized(params, Penalized(history, params));
  }
  CollectDry(params.dry, history);
}

size_t MostAdjustedTokens(const RowInput& row) {
  const SamplingParams& params = *row.params;
  size_t most = params.banned_ids.size() + params.bad_words.size() + params.logit_bias.size();
  if (row.key.step < params.min_tokens) most += params.stop_ids.size();
  if (!NeedsHistory(params)) return most;
  const RowHistory& history = HistoryOf(row);
  const size_t ordered = history.prompt_ids.size() + history.output_ids.size();
  const size_t counted = history.prompt_set.size() + history.output_count_ids.size();
  if (history.index == nullptr) return most + ordered + counted;
  size_t found = 0;
  if (HasPenalties(params)) found += CountsBesideIndex(params) ? counted : ordered;
  if (params.no_repeat_ngram_size == 1) found += ordered;
  const size_t alike = history.index->CountAlike(Indexed(history).ids);
  if (params.no_repeat_ngram_size > 1) found += alike;
  if (params.dry.multiplier > 0.0) found += alike;
  return most + std::min(found, ordered);
}

const ChangedTokens& TokenAdjuster::Adjust(const RowInput& row, const RowInput& before) {
  const SamplingParams& params = *row.params;
  lists_.Collect(row, row.pace);
  changed_.Reset(before);
  const float banned = ImpossibleValue(row.kind);
  const auto for_each = [&row](const auto& list, const auto& body) {
    ForEachScattered(row.pace, list.size(), [&](size_t i) { body(list[i]); });
  };
  for_each(lists_.banned(), [&](uint32_t id) { changed_.Set(id, banned); });
  for_each(params.logit_bias, [&](const TokenBias& bias) {
    changed_.Set(bias.token_id, changed_.ValueOf(bias.token_id) + bias.value);
  });
  const auto repetition = static_cast<float>(params.repetition_penalty);
  for_each(lists_.repeated(), [&](uint32_t id) {
    const float value = changed_.ValueOf(id);
    changed_.Set(id, value > 0 ? value / repetition : value * repetition);
  });
  const auto frequency = static_cast<float>(params.frequency_penalty);
  const auto presence = static_cast<float>(params.presence_penalty);
  for_each(lists_.counted(), [&](uint32_t id) {
    const float less_frequency =
        changed_.ValueOf(id) - frequency * static_cast<float>(lists_.CountOf(id));
    changed_.Set(id, less_frequency - presence);
  });
  for_each(lists_.repeating(), [&](uint32_t id) { changed_.Set(id, banned); });
  for_each(lists_.dry(), [&](const DryPenalty& penalty) {
    changed_.Set(penalty.id, changed_.ValueOf(penalty.id) - penalty.value);
  });
  return changed_;
}

}  // namespace token_sampler
