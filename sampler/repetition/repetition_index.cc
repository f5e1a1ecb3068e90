#include "sampler/repetition/repetition_index.h"

#include <algorithm>

#include "sampler/rows/paced.h"

namespace token_sampler {
namespace {

constexpr size_t kLeastChains = 2;

}  // namespace

bool RepetitionRules::Apply(const SamplingParams& params) {
  return params.no_repeat_ngram_size > 1 || (params.dry.multiplier > 0.0 && params.dry.last_n != 0);
}

uint64_t RepetitionRules::BytesFor(const SamplingParams& params) {
  uint64_t tokens = 1;
  for (const std::vector<uint32_t>& breaker : params.dry.breakers) tokens += breaker.size();
  return sizeof(RepetitionRules) + tokens * BreakerFinder::kBytesPerToken;
}

RepetitionRules::RepetitionRules(const SamplingParams& params, int64_t vocab)
    : vocab_(static_cast<uint32_t>(vocab)) {
  if (params.no_repeat_ngram_size > 1) {
    gram_ = std::min<size_t>(gram_, params.no_repeat_ngram_size - 1);
  }
  if (params.dry.multiplier == 0.0) return;
  gram_ = std::min<size_t>(gram_, params.dry.allowed_length);
  if (!params.dry.breakers.empty()) breakers_.emplace(params.dry.breakers);
}

std::optional<uint64_t> RepetitionRules::HashBefore(const HistoryIds& ids, size_t end) const {
  if (end < gram_) return std::nullopt;
  uint64_t hash = 0;
  for (size_t i = end - gram_; i < end; ++i) {
    const uint32_t id = ids[i];
    if (!Knows(id)) return std::nullopt;
    hash = ((hash >> 32) ^ hash ^ id) * 0x9e3779b97f4a7c15u;
  }
  return hash;
}

RepetitionIndex::RepetitionIndex(const RepetitionRules* rules, const RepetitionIndex* prompt)
    : rules_(rules),
      prompt_(prompt),
      first_(prompt == nullptr ? 0 : prompt->size()),
      state_(prompt == nullptr ? 0 : prompt->state_) {}

uint64_t RepetitionIndex::BytesFor(size_t capacity) const {
  if (capacity == 0) return 0;
  const uint64_t break_bytes = rules_->breakers() == nullptr ? 0 : sizeof(Break);
  return std::max(capacity, kLeastChains) * (sizeof(uint32_t) + sizeof(Chain) + break_bytes);
}

void RepetitionIndex::Reserve(size_t capacity, const HistoryIds& ids, Pace* pace) {
  before_.reserve(capacity);
  if (rules_->breakers() != nullptr) breaks_.reserve(capacity);
  size_t chains = kLeastChains;
  for (shift_ = 63; 2 * chains <= capacity; chains *= 2) --shift_;
  chains_ = {};  // freed before more memory is allocated
  ResizePaced(pace, chains, chains_);
  const size_t own = before_.size();
  before_.clear();
  ForEachScattered(pace, own, [&](size_t i) { Link(ids, static_cast<uint32_t>(first_ + i)); });
}

// Makes `place` the newest of its chain.
void RepetitionIndex::Link(const HistoryIds& ids, uint32_t place) {
  before_.push_back(kNone);
  const std::optional<uint64_t> hash = rules_->HashBefore(ids, size_t{place} + 1);
  if (!hash.has_value()) return;
  Chain& chain = ChainOf(*hash);
  before_.back() = chain.newest;
  chain.newest = place;
  ++chain.count;
}

void RepetitionIndex::Append(const HistoryIds& ids) {
  const auto place = static_cast<uint32_t>(size());
  Link(ids, place);
  const BreakerFinder* const breakers = rules_->breakers();
  if (breakers == nullptr) return;
  state_ = breakers->Next(state_, ids[place]);
  if (const uint32_t length = breakers->ShortestAtEnd(state_); length > 0) {
    breaks_.push_back({place, length});
  }
}

void RepetitionIndex::AppendAll(const HistoryIds& ids, Pace* pace) {
  ForEachScattered(pace, ids.size() - size(), [&](size_t) { Append(ids); });
}

void RepetitionIndex::RemoveNewest(const HistoryIds& ids, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (const std::optional<uint64_t> hash = rules_->HashBefore(ids, size())) {
      Chain& chain = ChainOf(*hash);
      chain.newest = before_.back();
      --chain.count;
    }
    before_.pop_back();
  }
  const BreakerFinder* const breakers = rules_->breakers();
  if (breakers == nullptr) return;
  while (!breaks_.empty() && breaks_.back().end >= size()) breaks_.pop_back();
  // The state depends only on the newest tokens, at most as many as a breaker may have.
  state_ = 0;
  for (size_t i = size() - std::min(size(), kMaxDryBreakerTokens); i < size(); ++i) {
    state_ = breakers->Next(state_, ids[i]);
  }
}

size_t RepetitionIndex::CountAlike(const HistoryIds& ids) const {
  const std::optional<uint64_t> hash = rules_->HashBefore(ids, ids.size());
  if (!hash.has_value()) return 0;
  size_t count = 0;
  for (const RepetitionIndex* part = this; part != nullptr; part = part->prompt_) {
    if (!part->before_.empty()) count += part->ChainOf(*hash).count;
  }
  return count - 1;  // without the end itself
}

size_t RepetitionIndex::LengthAfterBreakers(size_t begin) const {
  for (const RepetitionIndex* part = this; part != nullptr; part = part->prompt_) {
    // A breaker that ends after `begin` may begin before it, and then does not count. There are
    // few.
    for (size_t i = part->breaks_.size(); i > 0; --i) {
      const Break& last = part->breaks_[i - 1];
      if (last.end < begin) return size() - begin;
      if (last.end + 1 >= begin + last.length) return size() - 1 - last.end;
    }
  }
  return size() - begin;
}

}  // namespace token_sampler
