// A row that was looked at once: its extent and column maxima, by which later passes find their
// way.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_SCANNED_ROW_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_SCANNED_ROW_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/threads/thread_pool.h"
#include "sampler/cpu/token_list.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// What the tokens of a row weigh together, and those of them that reach a threshold.
struct RowMass {
  uint64_t all;
  uint64_t above;
};

// Not thread-safe. Reuses its memory from row to row; a row must outlive its use.
class ScannedRow {
 public:
  explicit ScannedRow(const Kernels& kernels) : kernels_(kernels) {}

  // Looks at every value. False, with the result set, when the row cannot be sampled. Passes over a
  // long row, this and later ones, are shared by the threads of `pool`; null: this thread alone.
  bool Scan(const RowInput& row, ThreadPool* pool, RowResult& result);

  // The same of a row that differs from one that was scanned in `changed`, which was reset for that
  // one's input(). All three must outlive the use of this one.
  bool ScanChanged(const ScannedRow& before, const ChangedTokens& changed, RowResult& result);

  // Writes all values to `values`, -0 as +0, and gives the row with these.
  RowInput Widen(Buffer<float>& values) const;

  const RowInput& input() const { return *row_; }
  ThreadPool* pool() const { return pool_; }
  float max() const { return max_; }
  float floor() const { return floor_; }  // tokens of lower values have no probability
  float ValueOf(uint32_t id) const {
    return changed_ != nullptr ? changed_->ValueOf(id)
                               : LoadAsFloat(row_->values, row_->dtype, id) + 0.0f;
  }

  // The first token of the order.
  uint32_t First();

  // The weigher of the whole row; `temperature` means nothing for plain weights.
  Weigher MakeWeigher(double temperature) const;

  // Columns that hold a value >= `value`, of columns() in all. There are at least as many tokens.
  uint64_t ColumnsAtLeast(float value) const;
  size_t columns() const { return columns_; }

  // About the greatest value that `count` columns or more hold or exceed; else floor().
  float ColumnQuantile(uint64_t count) const;

  // Fills `list` with the tokens in `range`, unweighed.
  void Collect(ValueRange range, TokenList& list);

  // At least what the tokens below `value`, which is above weigher.floor, weigh together, from the
  // column maxima alone.
  double MassBound(const Weigher& weigher, float value);

  // The number of tokens >= value, which is above or at floor().
  uint64_t CountAtLeast(float value);

  // Fills `list` with at least the first `count` tokens of the order that have a probability, or
  // all of them when there are fewer, unweighed.
  void CollectFirst(uint64_t count, TokenList& list);

  // Fills `weights` with the weights of the tokens of one block of kBlock, after WeighBlocks.
  void WeighBlock(int64_t block, const Weigher& weigher, uint64_t* weights) const;

  // Weighs the row, and fills `block_mass` with what the tokens of each block weigh that are not
  // below `threshold`.
  RowMass WeighBlocks(const Weigher& weigher, float threshold, Buffer<uint64_t>& block_mass);

  // Fills `values` with one vector of each whole group, and returns their number.
  size_t TakeSample(Buffer<float>& values);

 private:
  // Takes a row, and makes room for its columns.
  void Begin(const RowInput& row, ThreadPool* pool);

  // Takes what was seen of the row. False, with the result set, when it cannot be sampled.
  bool Finish(Extent extent, RowResult& result);

  // Makes the maximum of the token's column right, `before` being its value when that was found.
  void UpdateColumn(uint32_t id, float before);

  Pace* pace() const { return row_->pace; }

  // Calls body(begin, end) for pieces of [0, vocab) that begin at multiples of the group.
  template <class Body>
  void ForPieces(const Body& body) const;

  // Collects up to the group in which their number reaches `limit`.
  void CollectUpTo(size_t limit, ValueRange range, TokenList& list);

  // Makes a list of tokens before the changes one of tokens in `range` behind them.
  void ApplyChanges(ValueRange range, TokenList& list);

  // Makes row_->values those behind the changes, for a pass over all of them.
  void CopyChanged();

  // About the greatest value from `low` on that `count` of the columns hold or exceed.
  float Quantile(const Buffer<float>& columns, size_t size, uint64_t count, float low) const;

  // Splits [0, vocab) among threads at multiples of `unit`, and runs body(slice, begin, end); of a
  // long row with a pace for one piece after the other.
  void ForSlices(int64_t unit, absl::FunctionRef<void(size_t, int64_t, int64_t)> body) const;
  size_t SliceCount() const;

  const Kernels& kernels_;
  const RowInput* row_ = nullptr;
  const ChangedTokens* changed_ = nullptr;  // of row_; null: none
  LargeVector<uint32_t> added_ids_;
  LargeVector<uint32_t> sorted_ids_;
  RowInput copy_;
  Buffer<float> copied_values_;
  const RowKernels* loops_ = nullptr;
  ThreadPool* pool_ = nullptr;
  float max_ = 0;
  float floor_ = 0;
  size_t columns_ = 0;
  Buffer<float> column_max_;
  size_t coarse_columns_ = 0;
  Buffer<float> coarse_max_;  // the column maxima of the column maxima
  Buffer<uint64_t> all_mass_;
  Buffer<uint64_t> bound_mass_;
  TokenList ties_;
  TokenList others_;
  std::vector<Extent> slice_extents_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_SCANNED_ROW_H_
