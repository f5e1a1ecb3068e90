#include "sampler/arithmetic/data_type.h"

namespace token_sampler {

const char* DataTypeName(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "FLOAT32";
    case DataType::kFloat16:
      return "FLOAT16";
    case DataType::kBFloat16:
      return "BFLOAT16";
    case DataType::kFloat64:
      break;
  }
  return "FLOAT64";
}

}  // namespace token_sampler
