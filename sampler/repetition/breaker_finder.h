// Finds DRY's breakers in a history that is read from its beginning, a token at a time.

#ifndef TOKEN_SAMPLER_SAMPLER_REPETITION_BREAKER_FINDER_H_
#define TOKEN_SAMPLER_SAMPLER_REPETITION_BREAKER_FINDER_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace token_sampler {

// The automaton of Aho and Corasick (1975): a token takes constant time on average, however many
// breakers there are. Thread-safe once it is made.
class BreakerFinder {
 public:
  // An upper bound of what a token of a breaker takes: a node, and an entry of a map of which
  // two thirds are empty.
  static constexpr uint64_t kBytesPerToken = 8 + 3 * 17;

  // How far the tokens read last agree with the breakers. 0: nothing has been read.
  using State = uint32_t;

  // None of `breakers` may be empty.
  explicit BreakerFinder(const std::vector<std::vector<uint32_t>>& breakers);

  // The state after one more token.
  State Next(State state, uint32_t id) const;

  // Tokens of the shortest breaker that ends with the token read last; 0: none does.
  uint32_t ShortestAtEnd(State state) const { return nodes_[state].shortest; }

  // True when the token alone is one.
  bool IsBreaker(uint32_t id) const { return ShortestAtEnd(Next(0, id)) == 1; }

 private:
  // Stands for the first tokens of some breakers.
  struct Node {
    State longest_end = 0;  // the node of the longest proper end of them that is a node
    uint32_t shortest = 0;
  };

  static uint64_t Edge(State state, uint32_t id) { return uint64_t{state} << 32 | id; }

  std::vector<Node> nodes_;                     // [0]: no token
  absl::flat_hash_map<uint64_t, State> edges_;  // by Edge
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REPETITION_BREAKER_FINDER_H_
