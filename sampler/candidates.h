// Rows of which only the likeliest tokens are known: does a draw among them equal the draw from the
// whole row? SPEC.md §11.
//
// It does when every token that the filters keep is likelier than the least candidate: nothing that
// was left out is likelier than that one, so the filters would have removed it.

#ifndef TOKEN_SAMPLER_SAMPLER_CANDIDATES_H_
#define TOKEN_SAMPLER_SAMPLER_CANDIDATES_H_

#include <cstdint>
#include <optional>

#include "sampler/sampler.h"

namespace token_sampler {

// What is known of the tokens that were left out, none of them likelier than any candidate.
struct LeftOut {
  int64_t vocab = 0;                       // of the whole row
  std::optional<double> log_sum_exp = {};  // of their logits, to 1e-4; -infinity: of no token
                                           // that can be drawn
  std::optional<uint32_t> count = {};      // of those that can be drawn
};

struct CandidateDraw {
  bool exact = false;
  // What to draw with instead of the row's parameters, so that the draw is exact: the nucleus of
  // the whole row has this many tokens.
  std::optional<SamplingParams> params = {};
};

// `row` has the candidates alone, by ascending token id, as a row of their own: vocab is their
// number. Its parameters adjust nothing, and there is neither history nor bitmask.
CandidateDraw DecideCandidates(const RowInput& row, const LeftOut& left_out);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_CANDIDATES_H_
