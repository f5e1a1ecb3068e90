#include "sampler/cpu/filter/cutoff_finder.h"

#include <limits>

#include "sampler/arithmetic/token_order.h"
#include "sampler/rows/paced.h"

namespace token_sampler::cpu {
namespace {

// Up to this many candidates a bisection, each step of which reads all of them, is the fastest.
constexpr size_t kBisectCount = 128;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Candidates between two calls of the row's pace; a multiple of every group of the kernels.
constexpr size_t kPiece = size_t{kListPiece};

}  // namespace

Cutoff CutoffFinder::FindByCount(const TokenList& list, uint64_t count) {
  return Find({list.values.data(), list.ids.data(), nullptr, list.count, list.pace}, count);
}

Cutoff CutoffFinder::FindByMass(const TokenList& list, uint64_t mass) {
  return Find({list.values.data(), list.ids.data(), list.weights.data(), list.count, list.pace},
              mass);
}

Cutoff CutoffFinder::Find(Candidates candidates, uint64_t target) {
  const RowKernels& floats = kernels_.For(DataType::kFloat32);
  while (true) {
    column_max_.Reserve(candidates.count);
    Extent extent = {-kInfinity, kInfinity, false};
    InPieces(candidates.pace, candidates.count, kPiece, [&](size_t begin, size_t end) {
      extent = extent.With(floats.scan(candidates.values, static_cast<int64_t>(begin),
                                       static_cast<int64_t>(end), true, column_max_.data()));
    });
    if (extent.min == extent.max) {
      // All values are equal, so all weights are, and the ids decide.
      const uint64_t each = candidates.weights == nullptr ? 1 : candidates.weights[0];
      return {extent.min, candidates.ids[(target - 1) / each]};
    }
    if (candidates.count <= kBisectCount || !Narrow(extent, candidates, target)) {
      return Bisect(extent, candidates, target);
    }
  }
}

bool CutoffFinder::Narrow(Extent extent, Candidates& candidates, uint64_t& target) {
  const float scale = static_cast<float>(kBins) / (extent.max - extent.min);
  if (scale > std::numeric_limits<float>::max()) return false;
  uint32_t* bins = bins_.Reserve(candidates.count);
  for (auto& table : tables_) table.fill(0);
  InPieces(candidates.pace, candidates.count, kPiece, [&](size_t begin, size_t end) {
    kernels_.bin(candidates.values + begin, static_cast<int64_t>(end - begin), extent.max, scale,
                 kBins - 1, bins + begin);
    const uint64_t* const weights = candidates.weights;
    for (size_t i = begin; i < end; ++i) {
      tables_[i % kTables][bins[i]] += weights == nullptr ? 1 : weights[i];
    }
  });
  uint32_t bin = 0;
  while (true) {
    uint64_t mass = 0;
    for (const auto& table : tables_) mass += table[bin];
    if (mass >= target) break;
    target -= mass;
    ++bin;
  }

  narrowed_.Reserve(candidates.count);
  size_t kept = 0;
  InPieces(candidates.pace, candidates.count, kPiece, [&](size_t begin, size_t end) {
    // Copies for the loop, so that they stay in registers.
    const Candidates from = candidates;
    size_t to = kept;
    for (size_t i = begin; i < end; ++i) {
      narrowed_.values[to] = from.values[i];
      narrowed_.ids[to] = from.ids[i];
      if (from.weights != nullptr) narrowed_.weights[to] = from.weights[i];
      to += bins[i] == bin ? 1 : 0;
    }
    kept = to;
  });
  const bool fewer = kept < candidates.count;
  candidates = {narrowed_.values.data(), narrowed_.ids.data(),
                candidates.weights == nullptr ? nullptr : narrowed_.weights.data(), kept,
                candidates.pace};
  return fewer;
}

uint64_t CutoffFinder::MassAtLeast(const Candidates& candidates, float threshold) {
  uint64_t mass = 0;
  InPieces(candidates.pace, candidates.count, kPiece, [&](size_t begin, size_t end) {
    const float* const values = candidates.values + begin;
    mass += candidates.weights == nullptr
                ? kernels_.count_at_least(values, end - begin, threshold)
                : kernels_.sum_at_least(values, candidates.weights + begin, end - begin, threshold);
  });
  return mass;
}

Cutoff CutoffFinder::Bisect(Extent extent, const Candidates& candidates, uint64_t target) {
  uint32_t low = OrderedBits(extent.min + 0.0f);
  uint32_t high = OrderedBits(extent.max + 0.0f);
  while (low < high) {
    Ask(candidates.pace);
    const uint32_t middle = low + (high - low + 1) / 2;
    if (MassAtLeast(candidates, FromOrderedBits(middle)) >= target) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const float value = FromOrderedBits(low);
  uint64_t mass = MassAtLeast(candidates, FromOrderedBits(low + 1));
  size_t i = 0;
  for (;; ++i) {
    if (i % kPiece == kPiece - 1) Ask(candidates.pace);
    if (candidates.values[i] != value) continue;
    mass += candidates.weights == nullptr ? 1 : candidates.weights[i];
    if (mass >= target) return {value, candidates.ids[i]};
  }
}

}  // namespace token_sampler::cpu
