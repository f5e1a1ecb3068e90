// Makes a row of some tokens of another, for stages that do not keep a prefix of its order.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_REMADE_ROW_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_REMADE_ROW_H_

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/token_list.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// Not thread-safe; reuses its memory from call to call.
class RemadeRow {
 public:
  explicit RemadeRow(const Kernels& kernels) : row_(kernels) {}

  // Returns a row like `source` in which only the tokens of `list`, which must not be empty, can be
  // drawn. They have the values of `list`, which are of `kind`. Valid until the next call.
  ScannedRow& Make(const ScannedRow& source, InputKind kind, const TokenList& list);

 private:
  Buffer<float> values_;
  RowInput input_;
  ScannedRow row_;
  RowResult result_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_REMADE_ROW_H_
