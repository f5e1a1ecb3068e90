// Computes the standard deviation of logits from exact integer sums: top-n-sigma of SPEC.md §5.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_LOGIT_SPREAD_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_LOGIT_SPREAD_H_

#include <cmath>
#include <cstdint>

#include "sampler/arithmetic/elementary.h"
#include "sampler/arithmetic/wide_integer.h"

namespace token_sampler {

// Represents logits by their distances from the largest, as integers of up to 38 bits.
class LogitSpread {
 public:
  // Takes the largest and the smallest of the logits, which must differ.
  LogitSpread(float largest, float smallest) : largest_(largest) {
    int exponent;
    std::frexp(largest_ - double{smallest}, &exponent);
    scale_ = std::ldexp(1.0, 38 - exponent);
  }

  void Add(float logit) {
    const uint64_t distance = Units(logit);
    ++count_;
    sum_ += distance;
    squares_ += Uint128{distance} * distance;
  }

  // Returns the standard deviation of the logits that were added, in the unit of Distance.
  double Sigma() const {
    return std::sqrt(ToDouble(count_ * squares_ - sum_ * sum_)) / static_cast<double>(count_);
  }

  double Distance(float logit) const { return static_cast<double>(Units(logit)); }

 private:
  uint64_t Units(float logit) const {
    return static_cast<uint64_t>(RoundToInteger((largest_ - double{logit}) * scale_));
  }

  double largest_;
  double scale_;
  uint64_t count_ = 0;
  Uint128 sum_ = 0;
  Uint128 squares_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_LOGIT_SPREAD_H_
