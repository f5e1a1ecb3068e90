#include "tests/golden/golden_rows.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>

#include "sampler/arithmetic/philox.h"

namespace token_sampler::testing {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr int64_t kBibleVocab = 13'795;

[[noreturn]] void Abort(const std::string& what) {
  std::fprintf(stderr, "golden rows: %s\n", what.c_str());
  std::abort();
}

PhiloxBlock Block(uint32_t token, uint32_t variant) {
  return Philox4x32({{token, variant, 0, 0}}, 0x676f6c64, 0);  // "gold"
}

// Returns a centred sum of four 16-bit uniforms: a nearly normal integer of 19 bits.
int32_t NearNormal(const PhiloxBlock& block) {
  int32_t sum = 0;
  for (const uint32_t word : block.word) sum += static_cast<int32_t>(word >> 16);
  return sum - 131'070;
}

float Value(std::string_view shape, int64_t vocab, uint32_t variant, uint32_t token) {
  const PhiloxBlock block = Block(token, variant);
  const auto normal = static_cast<float>(NearNormal(block));
  if (shape == "flat") return normal * 0x1p-16f;    // deviation 0.6
  if (shape == "normal") return normal * 0x1p-14f;  // deviation 2.3
  if (shape == "wide") return normal * 0x1p-12f;    // deviation 9.2
  if (shape == "shifted") return normal * 0x1p-14f + 10'000.0f;
  if (shape == "sunken") return normal * 0x1p-14f - 10'000.0f;
  if (shape == "equal") return 1.5f;
  if (shape == "ties") return std::floor(normal * 0x1p-14f);
  if (shape == "ascending") return static_cast<float>(token) * 0x1p-8f;
  if (shape == "descending") return static_cast<float>(vocab - token) * 0x1p-8f;
  if (shape == "denormal") return normal * 0x1p-148f;
  if (shape == "peaked") {
    return token == variant * 7919 % static_cast<uint64_t>(vocab) ? 20.0f : normal * 0x1p-14f;
  }
  if (shape == "masked") return block.word[0] % 10 != 0 && token != 0 ? kMasked : normal * 0x1p-14f;
  if (shape == "lonely") return token == vocab / 2 ? -3.0f : kMasked;
  if (shape == "halves") return static_cast<float>(NearNormal(block) / 4096) * 0.25f;
  if (shape == "weights") {  // a quarter of them zero
    return block.word[1] % 4 == 0 && token != 0 ? 0.0f : static_cast<float>(block.word[0] >> 8);
  }
  if (shape == "counts") return static_cast<float>(block.word[0] % 7 + (token == 0 ? 1 : 0));
  if (shape == "cliffs") {  // four heights, each beyond the smallest weight of the one before
    return -100.0f * static_cast<float>(block.word[1] % 4) + normal * 0x1p-14f;
  }
  if (shape == "spread") {  // weights over 80 binades
    return std::ldexp(static_cast<float>((block.word[0] >> 8) | 1),
                      static_cast<int>(block.word[1] % 80) - 60);
  }
  Abort("no shape " + std::string(shape));
}

// Converts a value to binary16, which must be exact.
uint16_t ExactFloat16(float value) {
  if (value == kMasked) return 0xfc00;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t sign = (bits >> 16) & 0x8000;
  if (value == 0) return static_cast<uint16_t>(sign);
  const auto exponent = static_cast<int32_t>((bits >> 23) & 0xff) - 127 + 15;
  const auto half = static_cast<uint16_t>(sign | (static_cast<uint32_t>(exponent) << 10) |
                                          ((bits >> 13) & 0x3ff));
  if (exponent < 1 || exponent > 30 || WidenFloat16(half) != value) Abort("not exact in FLOAT16");
  return half;
}

uint16_t TruncatedBFloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}

template <typename Element>
void Append(Element element, std::vector<uint8_t>& bytes) {
  const auto* first = reinterpret_cast<const uint8_t*>(&element);
  bytes.insert(bytes.end(), first, first + sizeof(element));
}

// Returns row `variant` of the trigram model's logits as in the file.
GoldenRow BibleRow(uint32_t variant) {
  static const std::vector<char> file = [] {
    // A program that runs on another machine does not find the folder in which it was built.
    const char* const folder = std::getenv("TOKEN_SAMPLER_TEST_DATA");
    const std::string path = folder == nullptr ? TOKEN_SAMPLER_TEST_DATA : folder;
    std::ifstream stream(path + "/kjv_trigram_logits_f16.npy", std::ios::binary);
    return std::vector<char>(std::istreambuf_iterator<char>(stream), {});
  }();
  constexpr size_t kRowBytes = kBibleVocab * 2;
  const size_t offset = 128 + variant * kRowBytes;  // 128: the file's header
  if (file.size() < offset + kRowBytes) Abort("kjv_trigram_logits_f16.npy is missing or short");
  GoldenRow row{InputKind::kLogits, DataType::kFloat16, kBibleVocab, {}};
  row.bytes.assign(file.begin() + static_cast<int64_t>(offset),
                   file.begin() + static_cast<int64_t>(offset + kRowBytes));
  return row;
}

// Returns float64 weights over all binades, including subnormal ones.
GoldenRow DoublesRow(const GoldenRowName& name) {
  GoldenRow row{InputKind::kWeights, DataType::kFloat64, name.vocab, {}};
  for (int64_t token = 0; token < name.vocab; ++token) {
    const PhiloxBlock block = Block(static_cast<uint32_t>(token), name.variant);
    Append(std::ldexp(static_cast<double>((block.word[0] >> 8) | 1),
                      static_cast<int>(block.word[1] % 2000) - 1060),
           row.bytes);
  }
  return row;
}

}  // namespace

GoldenRow MakeGoldenRow(const GoldenRowName& name) {
  if (name.shape == "bible") return BibleRow(name.variant);
  if (name.shape == "doubles") return DoublesRow(name);
  GoldenRow row{InputKind::kLogits, name.dtype, name.vocab, {}};
  if (name.shape == "weights" || name.shape == "counts" || name.shape == "spread") {
    row.kind = InputKind::kWeights;
  }
  for (int64_t token = 0; token < name.vocab; ++token) {
    const float value = Value(name.shape, name.vocab, name.variant, static_cast<uint32_t>(token));
    switch (name.dtype) {
      case DataType::kFloat32:
        Append(value, row.bytes);
        break;
      case DataType::kFloat64:
        Append(static_cast<double>(value), row.bytes);
        break;
      case DataType::kFloat16:
        Append(ExactFloat16(value), row.bytes);
        break;
      case DataType::kBFloat16:
        Append(TruncatedBFloat16(value), row.bytes);
        break;
    }
  }
  return row;
}

}  // namespace token_sampler::testing
