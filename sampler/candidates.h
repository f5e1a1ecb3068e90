// Decides, for rows of which only the likeliest tokens are known, if a draw among them equals the
// draw from the whole row. SPEC.md §11.
//
// It does if every token that the filters keep is likelier than the least likely candidate: no
// left-out token is likelier than that one, so the filters would have removed it.

#ifndef TOKEN_SAMPLER_SAMPLER_CANDIDATES_H_
#define TOKEN_SAMPLER_SAMPLER_CANDIDATES_H_

#include <cstdint>
#include <optional>

#include "sampler/sampler.h"

namespace token_sampler {

// Facts about the tokens that were left out, none of which is likelier than any candidate.
struct LeftOut {
  int64_t vocab = 0;                       // of the whole row
  std::optional<double> log_sum_exp = {};  // of their logits, to 1e-4; -infinity: none can be drawn
  std::optional<uint32_t> count = {};      // of left-out tokens that can be drawn
};

struct CandidateDraw {
  bool exact = false;
  // If set, the parameters to use instead of the row's so that the draw is exact: their top-k keeps
  // as many tokens as the nucleus of the whole row has.
  std::optional<SamplingParams> params = {};
};

// `row` consists of the candidates by ascending token id; its vocab is their number. Its parameters
// must not adjust anything, and it must have neither history nor bitmask.
CandidateDraw DecideCandidates(const RowInput& row, const LeftOut& left_out);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_CANDIDATES_H_
