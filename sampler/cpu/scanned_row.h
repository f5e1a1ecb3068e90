// A row after one pass over it, with its extent and its column maxima. Later passes use these to
// skip most of the row.

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

// The sum of the weights of a row's tokens, and of those whose values reach a threshold.
struct RowMass {
  uint64_t all;
  uint64_t above;
};

// Not thread-safe. Reuses its memory from row to row. A row must outlive its use here.
class ScannedRow {
 public:
  explicit ScannedRow(const Kernels& kernels) : kernels_(kernels) {}

  // Reads every value. False, with the result set, if the row cannot be sampled. The threads of
  // `pool` share this and later passes over a long row; null: only this thread works.
  bool Scan(const RowInput& row, ThreadPool* pool, RowResult& result);

  // The same for a row that equals the scanned `before` except for `changed`, which was reset for
  // before.input(). That row, `before` and `changed` must outlive the use of this one.
  bool ScanChanged(const ScannedRow& before, const ChangedTokens& changed, RowResult& result);

  // Writes all values to `values` as float32, -0 as +0, and returns the row with these values.
  RowInput Widen(Buffer<float>& values) const;

  const RowInput& input() const { return *row_; }
  ThreadPool* pool() const { return pool_; }
  float max() const { return max_; }
  float floor() const { return floor_; }  // tokens of lower values cannot be drawn
  float ValueOf(uint32_t id) const {
    return changed_ != nullptr ? changed_->ValueOf(id)
                               : LoadAsFloat(row_->values, row_->dtype, id) + 0.0f;
  }

  // The first token of the order.
  uint32_t First();

  // Returns the weigher of the whole row. `temperature` is not used for plain weights.
  Weigher MakeWeigher(double temperature) const;

  // Returns how many of the columns() columns have a value >= `value`. At least as many tokens have
  // one.
  uint64_t ColumnsAtLeast(float value) const;
  size_t columns() const { return columns_; }

  // Returns about the greatest value that at least `count` columns reach; floor() if fewer reach
  // even that.
  float ColumnQuantile(uint64_t count) const;

  // Fills `list` with the tokens in `range`, without weights.
  void Collect(ValueRange range, TokenList& list);

  // Returns an upper bound, from only the column maxima, of the sum of the weights of the tokens
  // below `value`, which must be above weigher.floor.
  double MassBound(const Weigher& weigher, float value);

  // Returns the number of tokens with a value >= `value`, which must be >= floor().
  uint64_t CountAtLeast(float value);

  // Fills `list`, without weights, with at least the first `count` tokens of the order that can be
  // drawn, or with all of them if there are fewer.
  void CollectFirst(uint64_t count, TokenList& list);

  // Fills `weights` with the weights of the tokens of one block of kBlock. Call WeighBlocks before.
  void WeighBlock(int64_t block, const Weigher& weigher, uint64_t* weights) const;

  // Weighs the row. Sets `block_mass`, per block, to the sum of the weights of its tokens with a
  // value >= `threshold`.
  RowMass WeighBlocks(const Weigher& weigher, float threshold, Buffer<uint64_t>& block_mass);

  // Fills `values` with one vector of each whole group, and returns the number of values.
  size_t TakeSample(Buffer<float>& values);

 private:
  // Starts with a row, and makes room for its columns.
  void Begin(const RowInput& row, ThreadPool* pool);

  // Checks the row by its extent and its column maxima. False, with the result set, if it cannot be
  // sampled.
  bool Finish(Extent extent, RowResult& result);

  // Updates the maximum of the token's column. `before`: the token's value before the change.
  void UpdateColumn(uint32_t id, float before);

  Pace* pace() const { return row_->pace; }

  // Calls body(begin, end) for pieces of [0, vocab) that begin at multiples of a group.
  template <class Body>
  void ForPieces(const Body& body) const;

  // Like Collect, but stops after the group in which the number of tokens reaches `limit`.
  void CollectUpTo(size_t limit, ValueRange range, TokenList& list);

  // Updates `list` from values before the changes to values after them; keeps those in `range`.
  void ApplyChanges(ValueRange range, TokenList& list);

  // Makes row_->values the values after the changes, for a pass over all of them.
  void CopyChanged();

  // Returns about the greatest value from `low` on that `count` of `columns` reach.
  float Quantile(const Buffer<float>& columns, size_t size, uint64_t count, float low) const;

  // Splits [0, vocab) among threads at multiples of `unit`, and runs body(slice, begin, end) on
  // each. A long row with a pace is split piece by piece.
  void ForSlices(int64_t unit, absl::FunctionRef<void(size_t, int64_t, int64_t)> body) const;
  size_t SliceCount() const;

  const Kernels& kernels_;
  const RowInput* row_ = nullptr;
  const ChangedTokens* changed_ = nullptr;  // changes of row_; null: none
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
