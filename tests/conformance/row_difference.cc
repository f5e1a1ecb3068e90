#include "tests/conformance/row_difference.h"

#include <cstring>
#include <vector>

namespace token_sampler::testing {
namespace {

// Compares bits: -0 and 0 differ, and NaN equals itself.
template <typename Value>
bool Same(const Value& a, const Value& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

template <typename Value>
bool Same(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Value)) == 0);
}

}  // namespace

std::string RowDifference(const RowResult& actual, const RowResult& expected) {
  if (actual.code != expected.code) return "code: " + actual.message + " | " + expected.message;
  if (actual.message != expected.message) {
    return "message: " + actual.message + " | " + expected.message;
  }
  if (!Same(actual.token_ids, expected.token_ids)) return "token_ids";
  if (!Same(actual.logprobs, expected.logprobs)) return "logprobs";
  if (!Same(actual.top_token_ids, expected.top_token_ids)) return "top_token_ids";
  if (!Same(actual.top_logprobs, expected.top_logprobs)) return "top_logprobs";
  if (!Same(actual.ranks, expected.ranks)) return "ranks";
  if (!Same(actual.kept_count, expected.kept_count)) return "kept_count";
  if (!Same(actual.kept_token_ids, expected.kept_token_ids)) return "kept_token_ids";
  if (!Same(actual.kept_logprobs, expected.kept_logprobs)) return "kept_logprobs";
  if (!Same(actual.max_probability, expected.max_probability)) return "max_probability";
  if (!Same(actual.min_probability, expected.min_probability)) return "min_probability";
  if (!Same(actual.entropy, expected.entropy)) return "entropy";
  if (!Same(actual.gumbel_softmax, expected.gumbel_softmax)) return "gumbel_softmax";
  if (!Same(actual.weighed_ids, expected.weighed_ids)) return "weighed_ids";
  if (!Same(actual.weights, expected.weights)) return "weights";
  if (!Same(actual.greedy, expected.greedy)) return "greedy";
  if (actual.state.mirostat_mu != expected.state.mirostat_mu) return "state.mirostat_mu";
  if (actual.state.adaptive_p_sum != expected.state.adaptive_p_sum) return "state.adaptive_p_sum";
  if (actual.state.adaptive_p_weight != expected.state.adaptive_p_weight) {
    return "state.adaptive_p_weight";
  }
  if (actual.state.top_p != expected.state.top_p) return "state.top_p";
  return "";
}

}  // namespace token_sampler::testing
