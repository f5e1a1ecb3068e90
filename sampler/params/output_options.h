// The outputs of a row besides its tokens, and the table of them.

#ifndef TOKEN_SAMPLER_SAMPLER_PARAMS_OUTPUT_OPTIONS_H_
#define TOKEN_SAMPLER_SAMPLER_PARAMS_OUTPUT_OPTIONS_H_

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/strings/string_view.h"

namespace token_sampler {

// The distribution of which log-probabilities are reported.
enum class LogprobMode : uint8_t {
  kRaw,        // that of the row as received
  kProcessed,  // that of the draw: after temperature and filters, renormalised
};

// How the rank of a token counts tokens with an equal value.
enum class RankMode : uint8_t {
  kGreater,       // 1 + the number of tokens with a greater value
  kGreaterEqual,  // the number of tokens with a greater or equal value (vLLM)
};

// The outputs that a row's result holds besides the tokens. logprob_mode also names the
// distribution of ranks and extremes.
struct OutputOptions {
  bool logprobs = false;      // of each drawn token
  uint32_t top_logprobs = 0;  // the n likeliest tokens and theirs
  LogprobMode logprob_mode = LogprobMode::kRaw;
  bool ranks = false;  // of each drawn token
  RankMode rank_mode = RankMode::kGreater;
  bool kept_count = false;
  bool kept_set = false;  // the tokens that the filters kept, and their log-probabilities
  bool extremes = false;  // the largest and the smallest probability
  bool entropy = false;
  bool weights = false;         // the tokens that can be drawn, and their integer weights
  double gumbel_softmax = 0.0;  // temperature of relaxed one-hot vectors, [1e-6, 1e6]; 0: none
};

// The numbers that bound how many values a row's result holds.
struct RowSize {
  uint64_t draws;
  uint64_t vocab;
  uint64_t most_kept;  // tokens that the filters keep at most
};

// An output that can be asked for. A new one is a member of OutputOptions and a row of kOutputs.
struct OutputInfo {
  absl::string_view option;  // the field of token_sampler.v1.OutputOptions; "" for library only
  bool (*is_asked)(const OutputOptions&);
  // True if it describes the distribution that logprob_mode names.
  bool of_distribution;
  // True if it travels in token_sampler.v1.RowDetail.
  bool is_detail;
  // The most values of 4 bytes that it adds to a row's result; few are left out.
  uint64_t (*most_values)(const OutputOptions&, const RowSize&);
};

inline constexpr OutputInfo kOutputs[] = {
    {"logprobs", [](const OutputOptions& o) { return o.logprobs; }, true, true,
     [](const OutputOptions&, const RowSize& row) { return row.draws; }},
    {"top_logprobs", [](const OutputOptions& o) { return o.top_logprobs > 0; }, true, true,
     [](const OutputOptions& o, const RowSize& row) {
       return 2 * std::min<uint64_t>(o.top_logprobs, row.vocab);
     }},
    {"ranks", [](const OutputOptions& o) { return o.ranks; }, true, true,
     [](const OutputOptions&, const RowSize& row) { return row.draws; }},
    {"kept_count", [](const OutputOptions& o) { return o.kept_count; }, false, true,
     [](const OutputOptions&, const RowSize&) { return uint64_t{0}; }},
    {"kept_set", [](const OutputOptions& o) { return o.kept_set; }, false, false,
     [](const OutputOptions&, const RowSize& row) { return 2 * row.most_kept; }},
    {"extremes", [](const OutputOptions& o) { return o.extremes; }, true, true,
     [](const OutputOptions&, const RowSize&) { return uint64_t{0}; }},
    {"entropy", [](const OutputOptions& o) { return o.entropy; }, true, true,
     [](const OutputOptions&, const RowSize&) { return uint64_t{0}; }},
    {"", [](const OutputOptions& o) { return o.weights; }, false, false,
     [](const OutputOptions&, const RowSize& row) { return 3 * row.most_kept; }},
    {"gumbel_softmax", [](const OutputOptions& o) { return o.gumbel_softmax != 0.0; }, false, true,
     [](const OutputOptions&, const RowSize& row) { return row.draws * row.vocab; }},
};

// Returns true if nothing but tokens is asked for.
constexpr bool TokensOnly(const OutputOptions& outputs) {
  return std::none_of(std::begin(kOutputs), std::end(kOutputs),
                      [&](const OutputInfo& info) { return info.is_asked(outputs); });
}

// Returns true if something is asked for that travels in token_sampler.v1.RowDetail.
constexpr bool WantsDetails(const OutputOptions& outputs) {
  return std::any_of(std::begin(kOutputs), std::end(kOutputs), [&](const OutputInfo& info) {
    return info.is_detail && info.is_asked(outputs);
  });
}

// Returns true if something is asked for that describes a distribution.
constexpr bool WantsDistribution(const OutputOptions& outputs) {
  return std::any_of(std::begin(kOutputs), std::end(kOutputs), [&](const OutputInfo& info) {
    return info.of_distribution && info.is_asked(outputs);
  });
}

// Returns the most values of 4 bytes that a row's result holds, its tokens included.
constexpr uint64_t MostValues(const OutputOptions& outputs, const RowSize& row) {
  uint64_t values = row.draws;
  for (const OutputInfo& info : kOutputs) {
    if (info.is_asked(outputs)) values += info.most_values(outputs, row);
  }
  return values;
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_PARAMS_OUTPUT_OPTIONS_H_
