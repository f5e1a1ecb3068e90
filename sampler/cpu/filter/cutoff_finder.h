// Finds the end of a prefix of the total order without sorting.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_CUTOFF_FINDER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_CUTOFF_FINDER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/token_list.h"
#include "sampler/rows/pace.h"

namespace token_sampler::cpu {

// Not thread-safe; reuses its memory from call to call.
class CutoffFinder {
 public:
  explicit CutoffFinder(const Kernels& kernels) : kernels_(kernels) {}

  // Returns the last token of the first `count` (1 .. list.count) tokens of `list` in the total
  // order.
  Cutoff FindByCount(const TokenList& list, uint64_t count);

  // Returns the last token of the shortest prefix of `list` whose weights sum to at least `mass` (1
  // .. the sum of all).
  Cutoff FindByMass(const TokenList& list, uint64_t mass);

 private:
  static constexpr uint32_t kBins = 512;
  static constexpr size_t kTables = 4;

  // The tokens that may be the last of the prefix, by ascending id. `weights` is null when tokens
  // are counted.
  struct Candidates {
    const float* values;
    const uint32_t* ids;
    const uint64_t* weights;
    size_t count;
    Pace* pace;
  };

  Cutoff Find(Candidates candidates, uint64_t target);

  // Divides [min, max] into bins, keeps only the candidates of the bin that has the last token, and
  // subtracts the mass of the bins before it from `target`. False if all candidates are in one bin,
  // or there are no bins because the range is too small.
  bool Narrow(Extent extent, Candidates& candidates, uint64_t& target);

  Cutoff Bisect(Extent extent, const Candidates& candidates, uint64_t target);

  // Returns the sum of the weights, or the number, of the candidates with a value >= `threshold`.
  uint64_t MassAtLeast(const Candidates& candidates, float threshold);

  const Kernels& kernels_;
  Buffer<float> column_max_;
  Buffer<uint32_t> bins_;
  TokenList narrowed_;
  // Neighbours in a list add to different tables, so that no addition waits for the previous one.
  std::array<std::array<uint64_t, kBins>, kTables> tables_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_CUTOFF_FINDER_H_
