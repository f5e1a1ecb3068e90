// Random numbers for conformance tests, which are the same on every machine, unlike the
// distributions of <random>.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace token_sampler::testing {

// SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Bits() % uint64_t(bound)); }
  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
  bool OneIn(int64_t n) { return Below(n) == 0; }

  // Returns a nearly normal number: the sum of twelve uniforms.
  double Normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum;
  }

  template <typename Value, size_t n>
  Value Of(const std::array<Value, n>& values) {
    return values[static_cast<size_t>(Below(n))];
  }

 private:
  uint64_t state_;
};

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_H_
