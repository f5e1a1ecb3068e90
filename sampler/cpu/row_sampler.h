// Samples one row as SPEC.md requires, with the SIMD kernels, and sorts only what must be sorted.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_ROW_SAMPLER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_ROW_SAMPLER_H_

#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/distribution.h"
#include "sampler/cpu/filter/row_filter.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/output_writer.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/several_draws.h"
#include "sampler/cpu/threads/thread_pool.h"
#include "sampler/cpu/token_list.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/row_values.h"
#include "sampler/rows/token_set.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// Not thread-safe. Reuses its memory from row to row.
class RowSampler {
 public:
  explicit RowSampler(const Kernels& kernels)
      : kernels_(kernels),
        received_(kernels),
        listed_(kernels),
        adjusted_(kernels),
        filter_(kernels),
        writer_(kernels) {}

  // True if Sample supports the row. Leave rows with relaxed vectors, which take longer than a
  // sort, and rows with an invalid state, which it reports, to the pipeline.
  static bool Takes(const RowInput& row);

  // Samples `row` into `result`. The threads of `pool` share passes over a long row; null: only
  // this thread works. Throws Interrupted (sampler/rows/paced.h).
  void Sample(const RowInput& row, ThreadPool* pool, RowResult& result);

 private:
  // Samples `row` with its values rounded to float32.
  void SampleAsFloat32(const RowInput& row, ThreadPool* pool, RowResult& result);

  // Checks and adjusts the values. Null, with the result set, if the row cannot be sampled.
  ScannedRow* Prepare(const RowInput& row, ThreadPool* pool, RowResult& result);

  // Does the same for a row that Prepare failed and whose parameters ask for repairs. The code of
  // the result then says what was done.
  ScannedRow* Repair(const RowInput& row, ThreadPool* pool, RowResult& result);

  // Adjusts received_, for Prepare.
  ScannedRow* Adjust(ThreadPool* pool, RowResult& result);

  // Take tokens of `kept`, which filter_ returned: TakeFirst the first ones of the order, the
  // others by draws with random numbers. Return false, with the result set, if too few tokens are
  // left.
  bool TakeFirst(const Distribution& kept, RowResult& result);
  bool Draw(const Distribution& kept, RowResult& result);
  bool DrawSeveral(const Distribution& kept, RowResult& result);

  // Return the token of one draw: from the list or from the blocks of filter_.
  uint32_t DrawFromList(uint64_t target);
  uint32_t DrawFromBlocks(const Distribution& kept, uint64_t target);

  // Writes the tokens of `kept`, which filter_ returned, that can be drawn, with their weights.
  void WriteWeights(const Distribution& kept, RowResult& result);

  // Writes the outputs of a row whose survivors are `kept`.
  void WriteOutputs(const OutputOptions& outputs, const Distribution& kept, RowResult& result);

  const Kernels& kernels_;
  ScannedRow received_;
  ScannedRow listed_;  // received_ without the tokens that allowed_ids or the bitmask leave out
  Buffer<float> listed_values_;
  RowInput listed_input_;
  RowValues repaired_;
  RowInput repaired_input_;
  RowInput repaired_adjusted_input_;
  RowResult scanned_;  // unused: of scans that cannot fail
  TokenSet allowed_;
  TokenAdjuster adjuster_;
  ScannedRow adjusted_;
  RowFilter filter_;
  OutputWriter writer_;
  TokenList list_;
  Buffer<uint64_t> block_weights_;
  Buffer<uint64_t> block_mass_;
  LargeVector<uint64_t> keys_;
  LargeVector<uint64_t> sorted_keys_;
  SeveralDraws several_draws_;
  LargeVector<float> scaled_weights_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_ROW_SAMPLER_H_
