// Counts how often each token occurs in a sequence, from step to step.

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
  // Bytes per token: an id, a count, and an entry of a half-empty map.
  static constexpr uint64_t kBytesPerToken = 4 + 4 + 2 * 9;

  size_t capacity() const { return ids_.capacity(); }

  // Makes room for `capacity` different tokens.
  void Reserve(size_t capacity);

  // Adds one occurrence of a token. There must be room for it.
  void Add(uint32_t id);

  // Removes one occurrence of a token, which must have been counted.
  void Remove(uint32_t id);

  absl::Span<const uint32_t> ids() const { return ids_; }  // in no order, each once
  absl::Span<const uint32_t> counts() const { return counts_; }

 private:
  std::vector<uint32_t> ids_;
  std::vector<uint32_t> counts_;
  absl::flat_hash_map<uint32_t, uint32_t> places_;  // index in ids_ and counts_, by id
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_TOKEN_COUNTS_H_
