#include "sampler/describe.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "sampler/params/stage_table.h"
#include "sampler/reference/pipeline.h"
#include "sampler/reference/stages.h"
#include "sampler/reference/survivors.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/row_source.h"
#include "sampler/rows/row_values.h"
#include "sampler/rows/scaled_weights.h"

namespace token_sampler {
namespace {

StageView View(std::string stage, const Survivors& survivors, uint32_t top_n) {
  StageView view;
  view.stage = std::move(stage);
  view.kept_count = static_cast<uint32_t>(survivors.tokens.size());
  view.entropy = Entropy(survivors);
  const auto total = static_cast<double>(survivors.TotalWeight());
  const ProbabilityRange range = ProbabilityRangeOf(survivors);
  view.max_probability = range.max;
  view.min_probability = range.min;
  const size_t count = std::min<size_t>(top_n, survivors.tokens.size());
  view.top_token_ids.reserve(count);
  view.top_probabilities.reserve(count);
  ForEachPaced(survivors.pace, count, [&](size_t i) {
    view.top_token_ids.push_back(survivors.tokens[i].id);
    view.top_probabilities.push_back(static_cast<double>(survivors.tokens[i].weight) / total);
  });
  return view;
}

// The weights of a view's tokens, from which the next view computes the mass that was removed.
class LastWeights {
 public:
  explicit LastWeights(const RowInput& row) : pace_(row.pace) {
    ResizePaced(pace_, static_cast<size_t>(row.vocab), weights_);
  }

  // Returns the share of the last weights whose tokens are not in `after`, a subset of the last
  // view.
  double RemovedBy(const Survivors& after) const {
    uint64_t kept = 0;
    ForEachScattered(pace_, after.tokens.size(),
                     [&](size_t i) { kept += weights_[after.tokens[i].id]; });
    return static_cast<double>(total_ - kept) / static_cast<double>(total_);
  }

  void Set(const Survivors& survivors) {
    ForEachPaced(pace_, weights_.size(), [&](size_t id) { weights_[id] = 0; });
    total_ = survivors.TotalWeight();
    ForEachScattered(pace_, survivors.tokens.size(), [&](size_t i) {
      weights_[survivors.tokens[i].id] = survivors.tokens[i].weight;
    });
  }

 private:
  Pace* const pace_;
  LargeVector<uint64_t> weights_;  // per token
  uint64_t total_ = 0;
};

// Returns only the first survivor, the view of a row that becomes greedy.
Survivors FirstOf(const Survivors& survivors) {
  return {.tokens = {survivors.tokens.front()},
          .kind = survivors.kind,
          .fraction_bits = survivors.fraction_bits,
          .temperature = survivors.temperature,
          .reference = survivors.reference};
}

std::vector<StageView> DescribeAsFloat32(const RowInput& row, uint32_t top_n, RowResult& result) {
  RowValues values;
  result.Clear();
  if (!PrepareValues(row, values, result)) return {};
  if (const absl::Status status = CheckState(row); !status.ok()) {
    FailRow(RowCode::kInvalidInput, std::string(status.message()), result);
    return {};
  }
  StagedRow staged;
  staged.survivors = SortTokens(row.kind, values.received, row.pace);
  std::vector<StageView> views = {View("input", staged.survivors, top_n)};
  LastWeights last(row);
  last.Set(staged.survivors);
  const auto add = [&](std::string stage, const Survivors& after) {
    views.push_back(View(std::move(stage), after, top_n));
    views.back().removed_mass = last.RemovedBy(after);
    last.Set(after);
  };
  if (HasAdjustments(row) || result.code == RowCode::kUniform) {
    // Free the old survivors before making the new ones: they may take much memory.
    staged.survivors.tokens = {};
    staged.survivors = SortTokens(row.kind, values.adjusted, row.pace);
  }
  values = {};
  add("adjusted", staged.survivors);
  const auto observe = [&](Stage stage, const StagedRow& now) {
    if (!StageIsOn(*row.params, stage)) return;
    std::string name = absl::AsciiStrToLower(StageName(stage));
    if (now.greedy) {
      add(std::move(name), FirstOf(now.survivors));
    } else {
      add(std::move(name), now.survivors);  // not copied: they may take much memory
    }
  };
  RunStages(row, observe, staged);
  return views;
}

}  // namespace

std::vector<StageView> DescribeRow(const RowInput& input, uint32_t top_n, RowResult& result) {
  const FreeingPace freeing(input.pace);
  std::vector<StageView> views;
  const auto describe = [&] {
    LargeVector<char> read;
    const LoadedRow loaded(input, read, result);
    if (loaded.get() == nullptr) return;
    views = DescribeAsFloat32(*loaded.get(), top_n, result);
    LargeVector<float> scaled;
    if (const std::optional<RowInput> again = ScaledWeights(*loaded.get(), result, scaled)) {
      views = DescribeAsFloat32(*again, top_n, result);
    }
  };
  RunPaced(describe, [&] {
    views.clear();
    FailInterrupted(result);
  });
  return views;
}

}  // namespace token_sampler
