// Locally typical sampling of a list, without sorting it.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_TYPICAL_FILTER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_TYPICAL_FILTER_H_

#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels.h"
#include "sampler/cpu/token_list.h"
#include "sampler/sampling_params.h"
#include "sampler/wide_integer.h"

namespace token_sampler::cpu {

// Not thread-safe; reuses its memory from call to call.
class TypicalFilter {
 public:
  // Keeps of `list`, weighed by `weigher`, the tokens whose surprise is nearest to its mean:
  // stage typical of SPEC.md §5.
  void Keep(const SamplingParams& params, const Weigher& weigher, TokenList& list);

 private:
  struct Candidate {
    Uint128 distance;  // of its surprise from the mean
    uint64_t key;      // its place in the order
    uint64_t weight;

    bool operator<(const Candidate& other) const {
      return distance != other.distance ? distance < other.distance : key > other.key;
    }
  };

  Buffer<Candidate> candidates_;
  Buffer<Uint128> distances_;  // per token of the list
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_TYPICAL_FILTER_H_
