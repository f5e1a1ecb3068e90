// The element types of a row and their conversion to float32. It is exact, except for float64,
// which rounds to nearest, ties to even (magnitudes that round above the largest float32 become
// infinite).

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_DATA_TYPE_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_DATA_TYPE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/host_device.h"

namespace token_sampler {

enum class DataType : uint8_t { kFloat32, kFloat16, kBFloat16, kFloat64 };

// Bytes per element.
constexpr size_t ElementSize(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return 4;
    case DataType::kFloat64:
      return 8;
    case DataType::kFloat16:
    case DataType::kBFloat16:
      break;
  }
  return 2;
}

// "FLOAT32", "FLOAT16", "BFLOAT16" or "FLOAT64".
const char* DataTypeName(DataType type);

TOKEN_SAMPLER_HOST_DEVICE inline float FloatFromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

TOKEN_SAMPLER_HOST_DEVICE inline float WidenBFloat16(uint16_t bits) {
  return FloatFromBits(uint32_t{bits} << 16);
}

TOKEN_SAMPLER_HOST_DEVICE inline float WidenFloat16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0x1f) return FloatFromBits(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return FloatFromBits(sign | ((exponent + 112) << 23) | (fraction << 13));
  // Subnormal: fraction * 2^-24, exact in float32.
  const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;
  return sign != 0 ? -magnitude : magnitude;
}

// Element `index` of the array at `values`, which need not be aligned.
inline float LoadAsFloat(const void* values, DataType type, int64_t index) {
  const char* address = static_cast<const char*>(values) + index * int64_t(ElementSize(type));
  if (type == DataType::kFloat32) {
    float value;
    memcpy(&value, address, sizeof(value));
    return value;
  }
  if (type == DataType::kFloat64) {
    double value;
    memcpy(&value, address, sizeof(value));
    return static_cast<float>(value);
  }
  uint16_t bits;
  memcpy(&bits, address, sizeof(bits));
  return type == DataType::kFloat16 ? WidenFloat16(bits) : WidenBFloat16(bits);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_DATA_TYPE_H_
