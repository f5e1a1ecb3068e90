// Makes several draws from the survivors of a row. SPEC.md §6.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_SEVERAL_DRAWS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_SEVERAL_DRAWS_H_

#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/sum_tree.h"
#include "sampler/cpu/token_list.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/pace.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// Not thread-safe; reuses its memory from row to row.
class SeveralDraws {
 public:
  // Appends the row's draws from `survivors`, weighed by `weigher`, to result.token_ids. There must
  // be enough survivors for draws without replacement. Takes O(n log n) for n survivors and draws.
  void Draw(const RowInput& row, const TokenList& survivors, const Weigher& weigher,
            RowResult& result);

 private:
  struct WeighedToken {
    uint32_t id;
    uint64_t weight;
  };

  // Fills rest_ with the survivors of weight 0.
  void ListRest(const TokenList& survivors);

  // Weighs the tokens of rest_ again, relative to the largest value among them. Moves those that
  // get a weight from rest_ to ids_, weights_ and the tree.
  void TakeRest(const Weigher& weigher, Pace* pace);

  Buffer<uint32_t> ids_;        // of the tokens of TakeRest
  Buffer<uint64_t> weights_;    // of the survivors, or of ids_; 0 if drawn without replacement
  SumTree tree_;                // over weights_
  LargeVector<uint64_t> rest_;  // order keys of survivors of weight 0, ascending
  LargeVector<uint64_t> sorted_rest_;
  LargeVector<WeighedToken> taken_;
  LargeVector<WeighedToken> sorted_taken_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_SEVERAL_DRAWS_H_
