// How often each token occurs in a sequence, kept from step to step.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_TOKEN_COUNTS_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_TOKEN_COUNTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace token_sampler {

class TokenCounts {
 public:
  // What room for one token takes: an id, a count, and an entry of a map that is half empty.
  static constexpr uint64_t kBytesPerToken = 4 + 4 + 2 * 9;

  size_t capacity() const { return ids_.capacity(); }

  // Makes room for `capacity` different tokens.
  void Reserve(size_t capacity);

  // Counts a token once more. There must be room for it.
  void Add(uint32_t id);

  // Takes one of a token back, which must have been counted.
  void Remove(uint32_t id);

  absl::Span<const uint32_t> ids() const { return ids_; }  // in no order, none twice
  absl::Span<const uint32_t> counts() const { return counts_; }

 private:
  std::vector<uint32_t> ids_;
  std::vector<uint32_t> counts_;
  absl::flat_hash_map<uint32_t, uint32_t> places_;  // in both, by id
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_TOKEN_COUNTS_H_
