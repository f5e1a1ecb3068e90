#include "server/sequences/token_counts.h"

namespace token_sampler {

void TokenCounts::Reserve(size_t capacity) {
  ids_.reserve(capacity);
  counts_.reserve(capacity);
  places_.reserve(capacity);
}

void TokenCounts::Add(uint32_t id) {
  const auto [place, is_new] = places_.try_emplace(id, static_cast<uint32_t>(ids_.size()));
  if (is_new) {
    ids_.push_back(id);
    counts_.push_back(0);
  }
  ++counts_[place->second];
}

void TokenCounts::Remove(uint32_t id) {
  const auto found = places_.find(id);
  const uint32_t place = found->second;
  if (--counts_[place] > 0) return;
  places_.erase(found);
  if (place + 1 < ids_.size()) {
    // Move the last entry to the free place.
    ids_[place] = ids_.back();
    counts_[place] = counts_.back();
    places_[ids_[place]] = place;
  }
  ids_.pop_back();
  counts_.pop_back();
}

}  // namespace token_sampler
