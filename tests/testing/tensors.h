// Makes the tensors of requests out of numbers.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_TENSORS_H_
#define TOKEN_SAMPLER_TESTS_TESTING_TENSORS_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "token_sampler/v1/tensor.pb.h"

namespace token_sampler {

template <typename Element>
std::string Bytes(const std::vector<Element>& values) {
  std::string bytes(values.size() * sizeof(Element), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Makes a tensor of so many rows of the same length.
inline void SetTensor(uint32_t rows, const std::vector<float>& values, v1::Tensor& tensor) {
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(rows);
  tensor.set_vocab(static_cast<uint32_t>(values.size()) / rows);
  tensor.set_data(Bytes(values));
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_TESTING_TENSORS_H_
