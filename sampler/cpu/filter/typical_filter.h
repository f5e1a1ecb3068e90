// Applies locally typical sampling to a list, without sorting it.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_TYPICAL_FILTER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_TYPICAL_FILTER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/token_list.h"
#include "sampler/params/sampling_params.h"

namespace token_sampler::cpu {

// Not thread-safe; reuses its memory from call to call.
class TypicalFilter {
 public:
  // Keeps the tokens of `list`, weighed by `weigher`, whose surprise is nearest to its mean: stage
  // typical of SPEC.md §5.
  void Keep(const SamplingParams& params, const Weigher& weigher, TokenList& list);

 private:
  // Bins of tokens by their distance from the mean, and one more bin for tokens of weight 0.
  static constexpr int kBinBits = 11;
  static constexpr size_t kBins = (size_t{1} << kBinBits) + 1;

  struct Entry {
    Uint128 distance;  // of its surprise from the mean
    uint64_t key;      // its order key
    uint64_t weight;

    bool operator<(const Entry& other) const {
      return distance != other.distance ? distance < other.distance : key > other.key;
    }
  };

  // Writes each listed token's distance to distances_; returns the largest among tokens of nonzero
  // weight.
  Uint128 Measure(const Weigher& weigher, const TokenList& list, uint64_t total);

  // Fills bins_ and the sums per bin from the distances, the largest of which is `largest`.
  void FillBins(const TokenList& list, Uint128 largest);

  // Returns the bin in which the shortest prefix ends that reaches `mass` and has `count` tokens.
  // Subtracts the mass and the number of tokens of the bins before it.
  size_t TakeBin(uint64_t& mass, size_t& count) const;

  // Divides the first `size` of entries_ into finer bins, and keeps only those of the bin in
  // which the prefix ends. Returns their number. Overwrites the sums of FillBins.
  size_t Narrow(size_t size, uint64_t& mass, size_t& count, Pace* pace);

  // Returns the last token of the shortest prefix, by distance, that reaches `mass` and has `count`
  // tokens. `mass` is at most that of the list; `count` is in 1 .. list.count.
  Entry FindLast(const TokenList& list, uint64_t mass, size_t count);

  Buffer<Uint128> distances_;  // per token of the list
  Buffer<uint16_t> bins_;      // per token of the list
  std::array<uint64_t, kBins> mass_;
  std::array<size_t, kBins> counts_;
  Buffer<Entry> entries_;  // those of one bin
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_TYPICAL_FILTER_H_
