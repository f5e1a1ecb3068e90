// A set of token ids as a bit per token of the vocabulary, without sorting or hashing.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_TOKEN_SET_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_TOKEN_SET_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"

namespace token_sampler {

// Reuses its memory from row to row.
class TokenSet {
 public:
  // Empties the set, and makes room for ids below `vocab`. Asks `pace` while it grows.
  void Reset(int64_t vocab, Pace* pace) {
    if (ids_.size() < bits_.size()) {
      for (const uint32_t id : ids_) bits_[id / 64] = 0;
    } else {
      std::fill(bits_.begin(), bits_.end(), 0);
    }
    ids_.clear();
    ids_.reserve(static_cast<size_t>(vocab));  // the most there can be: growth would copy many
    const auto words = static_cast<size_t>(vocab / 64 + 1);
    if (words > bits_.size()) ResizePaced(pace, words, bits_);
  }

  bool Has(uint32_t id) const { return (bits_[id / 64] >> (id % 64) & 1) != 0; }

  // Returns false if the set had the id already.
  bool Add(uint32_t id) {
    if (Has(id)) return false;
    bits_[id / 64] |= uint64_t{1} << (id % 64);
    ids_.push_back(id);
    return true;
  }

  const LargeVector<uint32_t>& ids() const { return ids_; }  // in the order of Add

 private:
  LargeVector<uint64_t> bits_;
  LargeVector<uint32_t> ids_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_TOKEN_SET_H_
