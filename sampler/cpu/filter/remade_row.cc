#include "sampler/cpu/filter/remade_row.h"

#include <algorithm>
#include <cstddef>

#include "sampler/rows/paced.h"

namespace token_sampler::cpu {

ScannedRow& RemadeRow::Make(const ScannedRow& source, InputKind kind, const TokenList& list) {
  const auto vocab = static_cast<size_t>(source.input().vocab);
  float* values = values_.Reserve(vocab);
  const float impossible = ImpossibleValue(kind);
  InPieces(source.input().pace, vocab, size_t{kListPiece},
           [&](size_t begin, size_t end) { std::fill(values + begin, values + end, impossible); });
  list.ForEach([&](size_t i) { values[list.ids[i]] = list.values[i] + 0.0f; });
  input_ = source.input();
  input_.values = values;
  input_.dtype = DataType::kFloat32;
  input_.kind = kind;
  row_.Scan(input_, source.pool(), result_);
  return row_;
}

}  // namespace token_sampler::cpu
