// What is done to the logits before the stages: masks, bans, bias, penalties. SPEC.md §5.

#ifndef TOKEN_SAMPLER_SAMPLER_ADJUSTMENTS_H_
#define TOKEN_SAMPLER_SAMPLER_ADJUSTMENTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "sampler/data_type.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Whether anything is to be done to the row.
bool HasAdjustments(const RowInput& row);

// Empty when the row's history has what its parameters need and its ids are below vocab; else what
// is wrong. Cheap where there are no adjustments.
std::string CheckHistory(const RowInput& row);

// Removes the tokens that the row's allowed_ids and bitmask leave out from its values, read as
// float32 with -0 made +0; BansUnlisted: whether it has either.
bool BansUnlisted(const RowInput& row);
void BanUnlisted(const RowInput& row, absl::Span<float> values);

// The values that adjustments gave to some tokens of a row. Reuses its memory from row to row.
class ChangedTokens {
 public:
  // No token of the row, which must outlive its use here, is changed.
  void Reset(const RowInput& row);

  absl::Span<const uint32_t> ids() const { return ids_; }  // in no order, none twice
  bool Has(uint32_t id) const { return (changed_[id / 64] >> (id % 64) & 1) != 0; }
  float ValueOf(uint32_t id) const {
    return Has(id) ? values_[id] : LoadAsFloat(row_->values, row_->dtype, id) + 0.0f;
  }
  void Set(uint32_t id, float value);

 private:
  const RowInput* row_ = nullptr;
  std::vector<uint64_t> changed_;    // a bit per token; no bit is set but those of ids_
  std::unique_ptr<float[]> values_;  // per token; those of ids_ mean something
  size_t capacity_ = 0;
  std::vector<uint32_t> ids_;
};

// All other adjustments, to tokens of `changed`, which was reset for `row` or for what BanUnlisted
// left of it. The history must have passed CheckHistory. Afterwards a value may be +infinity, when
// a penalty below 1 overflows.
void AdjustTokens(const RowInput& row, ChangedTokens& changed);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ADJUSTMENTS_H_
