// The tokens that are left of a row and how they are weighed: what a draw is from, and what the
// outputs besides tokens describe.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_DISTRIBUTION_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_DISTRIBUTION_H_

#include <cstdint>

#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/token_list.h"

namespace token_sampler::cpu {

struct Distribution {
  ScannedRow* row = nullptr;
  Cutoff last = {};  // the end of the tokens in the row's order: the last one, or a place after it
                     // and before the next token
  Weigher weigher = {};
  double temperature = 1.0;
  uint64_t total = 0;   // the sum of the tokens' weights
  bool greedy = false;  // true: the first tokens are taken without a draw, and total is not set

  double ProbabilityOf(uint32_t token_id) const {
    return static_cast<double>(weigher.WeightOf(row->ValueOf(token_id))) /
           static_cast<double>(total);
  }

  // Returns the distribution of the first drawn token: if greedy, that of only the first token.
  Distribution OfFirstDraw() const {
    Distribution drawn = *this;
    if (!greedy) return drawn;
    drawn.last = {row->max(), row->First()};
    drawn.total = weigher.WeightOf(row->max());
    return drawn;
  }
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_DISTRIBUTION_H_
