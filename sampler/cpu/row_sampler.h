// Samples one row: SPEC.md with the kernels, without sorting what need not be sorted.
//
// Every filter keeps a prefix of the total order, so a row is narrowed from all of its tokens to a
// list of those that can still be drawn, which is then narrowed further; weights are computed for
// what is left.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_ROW_SAMPLER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_ROW_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "sampler/cpu/buffer.h"
#include "sampler/cpu/cutoff_finder.h"
#include "sampler/cpu/kernels.h"
#include "sampler/cpu/sum_tree.h"
#include "sampler/cpu/thread_pool.h"
#include "sampler/cpu/token_list.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// Not thread-safe. Reuses its memory from row to row.
class RowSampler {
 public:
  // `pool` shares the passes over a long row; null: this thread alone.
  explicit RowSampler(const Kernels& kernels) : kernels_(kernels), cutoffs_(kernels) {}

  // Samples `row` into `result`. Passes over a long row are shared by the threads of `pool`; null:
  // this thread alone.
  void Sample(const RowInput& row, ThreadPool* pool, RowResult& result);

  // The same for a row with a history or adjustments. Its outputs, if any, must be PROCESSED.
  void SampleAdjusted(const RowInput& row, ThreadPool* pool, RowResult& result);

 private:
  // The tokens that may be drawn, and their weights' sum.
  struct Kept {
    bool listed;  // they are list_, weighed; else all tokens of the row, summed per block
    uint64_t total;
  };

  // What a log-probability is computed from.
  struct LogprobScale {
    double temperature;
    double log_total;
    Weigher weigher;
  };

  // Takes up a row and looks at it. False, with the result set, when it cannot be sampled.
  bool Begin(const RowInput& row, ThreadPool* pool, RowResult& result);

  // Looks at every value. False, with the result set, when the row cannot be sampled.
  bool ScanRow(RowResult& result);

  Weigher MakeWeigher(double temperature) const;

  bool SampleGreedy(RowResult& result);
  Kept Filter(const Weigher& weigher);
  bool Draw(const Kept& kept, const Weigher& weigher, RowResult& result);
  bool DrawFromList(uint64_t total, RowResult& result);
  void WriteLogprobs(const Kept& kept, const Weigher& weigher, RowResult& result);
  void WriteGreedyLogprobs(RowResult& result);
  float Logprob(float value, const LogprobScale& scale) const;
  void WriteTopLogprobs(TokenList& tokens, const LogprobScale& scale, RowResult& result);

  // Fills list_ with the tokens whose value is at least `low`, unweighed.
  void CollectAtLeast(float low, TokenList& list);

  // Fills `list` with at least the first `count` tokens of the order that have a probability, or
  // all of them when there are fewer, unweighed.
  void CollectFirst(uint64_t count, TokenList& list);

  // Leaves of list_ what the filter keeps.
  void KeepMinP(uint64_t threshold);
  void KeepTopK(uint64_t count, TokenList& list);
  void KeepTopP(double top_p);

  // A value below which min-p keeps no token.
  float MinPBound(uint64_t threshold, const Weigher& weigher) const;

  // Weighs the whole row into block_mass_, and returns the sum.
  uint64_t WeighBlocks(const Weigher& weigher);

  // Splits [0, vocab) among threads at multiples of `unit`, and runs body(slice, begin, end).
  void ForSlices(int64_t unit, absl::FunctionRef<void(size_t, int64_t, int64_t)> body);
  size_t SliceCount() const;

  float ValueOf(uint32_t id) const { return LoadAsFloat(row_->values, row_->dtype, id) + 0.0f; }

  const Kernels& kernels_;

  // The row of the current call.
  const RowInput* row_ = nullptr;
  const RowKernels* loops_ = nullptr;
  ThreadPool* pool_ = nullptr;
  float max_ = 0;
  float floor_ = 0;  // tokens of lower values have no probability

  CutoffFinder cutoffs_;
  Buffer<float> adjusted_;  // a row's values after adjustments
  Buffer<float> column_max_;
  size_t columns_ = 0;
  TokenList list_;
  TokenList top_;
  Buffer<uint64_t> block_mass_;
  Buffer<uint64_t> block_weights_;
  Buffer<uint64_t> keys_;
  SumTree tree_;
  std::vector<Extent> slice_extents_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_ROW_SAMPLER_H_
