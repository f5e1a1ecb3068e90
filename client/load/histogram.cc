#include "client/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace token_sampler::client {
namespace {

// Values below 2 * kSteps have a bucket each. Above, each power of two is cut into kSteps buckets,
// so that a bucket is narrower than 1 / kSteps of its values.
constexpr int kStepBits = 9;
constexpr uint64_t kSteps = uint64_t{1} << kStepBits;
static_assert(Histogram::kRelativeError == 1.0 / kSteps);
constexpr size_t kBuckets = static_cast<size_t>((64 - kStepBits + 1) * kSteps);

// The number of low bits of a value that its bucket ignores.
int Shift(uint64_t value) { return std::max(0, 63 - kStepBits - std::countl_zero(value)); }

size_t BucketOf(uint64_t value) {
  const int shift = Shift(value);
  return static_cast<size_t>(static_cast<uint64_t>(shift) * kSteps + (value >> shift));
}

// The largest value of a bucket.
uint64_t LastOf(size_t bucket) {
  if (bucket < 2 * kSteps) return bucket;
  const uint64_t shift = bucket / kSteps - 1;
  const uint64_t first = (bucket - shift * kSteps) << shift;
  return first + ((uint64_t{1} << shift) - 1);
}

}  // namespace

Histogram::Histogram() : counts_(kBuckets) {}

void Histogram::Record(uint64_t value) {
  ++counts_[BucketOf(value)];
  ++count_;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value);
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
}

double Histogram::Mean() const { return count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_); }

uint64_t Histogram::Percentile(double percent) const {
  if (count_ == 0) return 0;
  // Divide last: 99.9 % of 1000 are 999 values, but 0.999 * 1000.0 is slightly more.
  const double exact_rank =
      std::ceil(std::clamp(percent, 0.0, 100.0) * static_cast<double>(count_) / 100.0);
  // A rank of 0, for percent 0, is the first value.
  const uint64_t rank = std::max<uint64_t>(1, static_cast<uint64_t>(exact_rank));
  if (rank == 1) return min_;
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::min(LastOf(i), max_);
  }
  return max_;
}

}  // namespace token_sampler::client
