// A histogram of unsigned integers over their whole range, in buckets whose width grows with the
// value (like HdrHistogram): 28,672 counters, percentiles with a known relative error.

#ifndef TOKEN_SAMPLER_CLIENT_LOAD_HISTOGRAM_H_
#define TOKEN_SAMPLER_CLIENT_LOAD_HISTOGRAM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace token_sampler::client {

// Not thread-safe.
class Histogram {
 public:
  // A percentile is never below the exact one, and exceeds it by less than this share of it.
  static constexpr double kRelativeError = 1.0 / 512;

  Histogram();

  void Record(uint64_t value);

  // Adds everything that `other` recorded.
  void Merge(const Histogram& other);

  uint64_t count() const { return count_; }
  uint64_t min() const { return count_ == 0 ? 0 : min_; }  // exact
  uint64_t max() const { return max_; }                    // exact; 0 when nothing was recorded
  double Mean() const;                                     // exact up to rounding; 0 when empty

  // The least value v such that at least `percent` % of the recorded values are <= v, up to
  // kRelativeError. percent in [0, 100]; 0 is the minimum. 0 when nothing was recorded.
  uint64_t Percentile(double percent) const;

 private:
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  uint64_t min_ = UINT64_MAX;
  uint64_t max_ = 0;
  double sum_ = 0.0;
};

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_LOAD_HISTOGRAM_H_
