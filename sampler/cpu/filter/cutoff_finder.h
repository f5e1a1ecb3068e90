// Where a prefix of the total order ends, found without sorting.

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

  // The end of the shortest prefix of `list` that has at least `count` tokens (1 .. list.count).
  Cutoff FindByCount(const TokenList& list, uint64_t count);

  // The end of the shortest prefix of `list` whose weights sum to at least `mass` (1 .. their sum).
  Cutoff FindByMass(const TokenList& list, uint64_t mass);

 private:
  static constexpr uint32_t kBins = 512;
  static constexpr size_t kTables = 4;

  // The tokens that the end of the prefix is among, in id order. `weights` is null when counting.
  struct Candidates {
    const float* values;
    const uint32_t* ids;
    const uint64_t* weights;
    size_t count;
    Pace* pace;
  };

  Cutoff Find(Candidates candidates, uint64_t target);

  // Leaves of the candidates those of one bin of [min, max], and takes what comes before it off the
  // target. False when all are in one bin.
  bool Narrow(Extent extent, Candidates& candidates, uint64_t& target);

  Cutoff Bisect(Extent extent, const Candidates& candidates, uint64_t target);

  // Weight, or number, of the candidates >= threshold.
  uint64_t MassAtLeast(const Candidates& candidates, float threshold);

  const Kernels& kernels_;
  Buffer<float> column_max_;
  Buffer<uint32_t> bins_;
  TokenList narrowed_;
  // Neighbours in a list add to different tables, so that no addition waits for the one before.
  std::array<std::array<uint64_t, kBins>, kTables> tables_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_CUTOFF_FINDER_H_
