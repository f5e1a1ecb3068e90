#include "sampler/repetition/breaker_finder.h"

#include <algorithm>
#include <cstddef>

namespace token_sampler {

BreakerFinder::BreakerFinder(const std::vector<std::vector<uint32_t>>& breakers) : nodes_(1) {
  size_t longest = 0;
  for (const std::vector<uint32_t>& breaker : breakers) longest = std::max(longest, breaker.size());
  // Make nodes in the order of their lengths: each needs the nodes of its shorter ends.
  std::vector<State> reached(breakers.size(), 0);
  for (size_t length = 1; length <= longest; ++length) {
    for (size_t i = 0; i < breakers.size(); ++i) {
      if (breakers[i].size() < length) continue;
      const uint32_t id = breakers[i][length - 1];
      const State from = reached[i];
      const auto [edge, is_new] =
          edges_.try_emplace(Edge(from, id), static_cast<State>(nodes_.size()));
      reached[i] = edge->second;
      if (is_new) {
        Node node;
        node.longest_end = from == 0 ? 0 : Next(nodes_[from].longest_end, id);
        node.shortest = nodes_[node.longest_end].shortest;
        nodes_.push_back(node);
      }
      uint32_t& shortest = nodes_[reached[i]].shortest;
      if (breakers[i].size() == length && shortest == 0) shortest = static_cast<uint32_t>(length);
    }
  }
}

BreakerFinder::State BreakerFinder::Next(State state, uint32_t id) const {
  for (;;) {
    const auto edge = edges_.find(Edge(state, id));
    if (edge != edges_.end()) return edge->second;
    if (state == 0) return 0;
    state = nodes_[state].longest_end;
  }
}

}  // namespace token_sampler
