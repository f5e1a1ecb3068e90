// Finds DRY's breakers in a history that is read from its beginning, one token at a time.

#ifndef TOKEN_SAMPLER_SAMPLER_REPETITION_BREAKER_FINDER_H_
#define TOKEN_SAMPLER_SAMPLER_REPETITION_BREAKER_FINDER_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace token_sampler {

// The automaton of Aho and Corasick (1975): reading a token takes constant time on average, however
// many breakers there are. Immutable, so thread-safe.
class BreakerFinder {
 public:
  // An upper bound of the memory per token of a breaker: a node, and an entry of a map of which two
  // thirds are empty.
  static constexpr uint64_t kBytesPerToken = 8 + 3 * 17;

  // How far the last tokens that were read agree with the beginnings of breakers. 0: not at all, as
  // before the first token.
  using State = uint32_t;

  // None of `breakers` may be empty.
  explicit BreakerFinder(const std::vector<std::vector<uint32_t>>& breakers);

  // Returns the state after reading `id`.
  State Next(State state, uint32_t id) const;

  // The number of tokens of the shortest breaker that ends with the last token read; 0: none does.
  uint32_t ShortestAtEnd(State state) const { return nodes_[state].shortest; }

  // True if the token by itself is a breaker.
  bool IsBreaker(uint32_t id) const { return ShortestAtEnd(Next(0, id)) == 1; }

 private:
  // A beginning of one or more breakers.
  struct Node {
    State longest_end = 0;  // the node of its longest proper end that is a beginning too
    uint32_t shortest = 0;
  };

  static uint64_t Edge(State state, uint32_t id) { return uint64_t{state} << 32 | id; }

  std::vector<Node> nodes_;                     // [0]: no token
  absl::flat_hash_map<uint64_t, State> edges_;  // by Edge
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REPETITION_BREAKER_FINDER_H_
