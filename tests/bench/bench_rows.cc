#include "tests/bench/bench_rows.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "sampler/arithmetic/data_type.h"

namespace token_sampler::bench {
namespace {

// Reads the logits of a trigram model of the King James Bible: 63 contexts of 13,795 words.
std::vector<float> ReadRealLogits() {
  constexpr size_t kHeader = 128;
  std::ifstream stream(TOKEN_SAMPLER_TEST_DATA "/kjv_trigram_logits_f16.npy", std::ios::binary);
  const std::string file((std::istreambuf_iterator<char>(stream)), {});
  if (file.size() <= kHeader) {
    std::fprintf(stderr, "kjv_trigram_logits_f16.npy is missing or short\n");
    std::abort();
  }
  std::vector<float> logits((file.size() - kHeader) / 2);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = LoadAsFloat(file.data() + kHeader, DataType::kFloat16, static_cast<int64_t>(i));
  }
  return logits;
}

}  // namespace

std::vector<std::string> UsualShapes() {
  return {"normal 1", "normal 3", "normal 5", "peaked", "flat", "real"};
}

std::vector<std::string> AdversarialShapes() {
  return {"ascending", "descending", "all equal", "two values", "one huge"};
}

std::vector<float> MakeBenchRow(const std::string& shape, int64_t vocab, uint64_t variant) {
  std::mt19937_64 generator(variant + 1);
  const auto normal = [&](float sigma) {
    std::normal_distribution<float> distribution(0, sigma);
    std::vector<float> row(static_cast<size_t>(vocab));
    for (float& logit : row) logit = distribution(generator);
    return row;
  };
  const auto any = static_cast<size_t>(generator() % static_cast<uint64_t>(vocab));
  if (shape == "normal 1") return normal(1);
  if (shape == "normal 3") return normal(3);
  if (shape == "normal 5") return normal(5);
  if (shape == "flat") return normal(0.01f);
  if (shape == "peaked") {
    std::vector<float> row = normal(2);
    row[any] = 25;
    return row;
  }
  if (shape == "real") {
    // Concatenate contexts until the row is full.
    static const std::vector<float> logits = ReadRealLogits();
    std::vector<float> row(static_cast<size_t>(vocab));
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = logits[(variant * 13795 + i) % logits.size()];
    }
    return row;
  }
  if (shape == "ascending" || shape == "descending") {
    std::vector<float> row = normal(3);
    std::sort(row.begin(), row.end());
    if (shape == "descending") std::reverse(row.begin(), row.end());
    return row;
  }
  if (shape == "all equal") return std::vector<float>(static_cast<size_t>(vocab), 1.5f);
  if (shape == "two values") {
    std::vector<float> row(static_cast<size_t>(vocab));
    for (float& logit : row) logit = generator() % 2 == 0 ? 2.0f : -1.0f;
    return row;
  }
  if (shape == "one huge") {
    std::vector<float> row = normal(1);
    row[any] = 1e4f;
    return row;
  }
  std::fprintf(stderr, "no shape %s\n", shape.c_str());
  std::abort();
}

}  // namespace token_sampler::bench
