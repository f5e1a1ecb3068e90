// Fuzzes rows and parameters: refusing them must not crash, and valid ones must give the same
// results on every SIMD target as in the reference sampler.

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/params/stage_table.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/conformance/row_difference.h"

namespace token_sampler {
namespace {

constexpr int64_t kMaxVocab = 300;
constexpr int64_t kMaxTinyVocab = 8;

class RowMaker {
 public:
  explicit RowMaker(FuzzedDataProvider& data) : data_(data) {
    // In tiny rows of few different values filters reach their bounds.
    tiny_ = data_.ConsumeBool();
    row_.kind = data_.ConsumeBool() ? InputKind::kLogits : InputKind::kWeights;
    row_.vocab = data_.ConsumeIntegralInRange<int64_t>(1, tiny_ ? kMaxTinyVocab : kMaxVocab);
    if (tiny_) MakeTinyValues();
    row_.params = &params_;
    row_.key = {data_.ConsumeIntegral<uint64_t>(), data_.ConsumeIntegral<uint64_t>() >> Shift(),
                data_.ConsumeIntegral<uint32_t>()};
    MakeParams();
    if (data_.ConsumeBool()) MakeOutputs();
    if (data_.ConsumeBool()) MakeHistory();
    if (Rarely()) MakeBitmask();
    if (data_.ConsumeBool()) MakeState();
    if (!tiny_) MakeValues();
    row_.values = values_.data();
  }

  const RowInput& row() const { return row_; }

 private:
  int Shift() { return data_.ConsumeIntegralInRange(0, 63); }
  // False after the input is used up, when all numbers are 0: then most parameters stay off.
  bool Rarely() { return data_.ConsumeIntegralInRange(0, 3) == 3; }

  // Any double, but usually one that parameters accept; for tiny rows always.
  double Number() {
    if (tiny_) return data_.PickValueInArray({0.5, 0.01, 0.25, 0.75, 0.9, 1.0});
    switch (data_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        return data_.ConsumeFloatingPoint<double>();
      case 1:
        return data_.PickValueInArray({0.0, 1e-6, 0.5, 1.0, 2.0, 1e6});
      default:
        return data_.ConsumeProbability<double>();
    }
  }

  // A count, usually near the number of tokens of a tiny row.
  uint32_t Count() {
    if (!tiny_ && Rarely()) return data_.ConsumeIntegral<uint32_t>();
    return data_.ConsumeIntegralInRange<uint32_t>(tiny_ ? 1 : 0, kMaxTinyVocab + 2);
  }

  std::vector<uint32_t> Ids() {
    std::vector<uint32_t> ids(data_.ConsumeIntegralInRange<size_t>(0, 6));
    for (uint32_t& id : ids) {
      id = data_.ConsumeIntegralInRange<uint32_t>(0, static_cast<uint32_t>(row_.vocab));
    }
    return ids;
  }

  Stage AnyStage() {
    return kStages[data_.ConsumeIntegralInRange<size_t>(0, kNumStages - 1)].stage;
  }

  void MakeOrder() {
    params_.stage_order =
        data_.PickValueInArray({kVllmOrder, kHfOrder, kLlamaCppOrder, kSglangOrder});
    if (!Rarely()) return;
    params_.stage_order = StageOrder();
    while (data_.ConsumeBool() && params_.stage_order.size() < kNumStages) {
      params_.stage_order.Add(AnyStage());
    }
  }

  void MakeStateful() {
    if (Rarely()) {
      params_.mirostat = Mirostat{data_.ConsumeIntegralInRange<uint32_t>(0, 3), Number(), Number()};
    }
    if (Rarely()) params_.adaptive_p = AdaptiveP{Number(), Number()};
    if (Rarely()) params_.top_p_decay = TopPDecay{Number(), Number(), Ids()};
  }

  void MakeAdjustments() {
    if (Rarely()) params_.allowed_ids = Ids();
    if (Rarely()) params_.banned_ids = Ids();
    if (Rarely()) params_.bad_words = {Ids(), Ids()};
    if (Rarely()) params_.stop_ids = Ids();
    if (Rarely()) {
      for (const uint32_t id : Ids()) {
        params_.logit_bias.push_back({id, static_cast<float>(Number())});
      }
    }
    if (Rarely()) {
      params_.dry = {Number(), Number(), Count(), data_.ConsumeIntegralInRange(-2, 9), {Ids()}};
    }
  }

  // Sets any value of the parameter's type, usually one that it accepts.
  void Set(const ScalarParam& scalar) {
    scalar.set(params_, 0.5);
    // Only numbers keep a fraction; counts and switches do not.
    if (scalar.get(params_) == 0.5) {
      scalar.set(params_, Number());
    } else if (scalar.range.high == 1.0) {
      scalar.set(params_, data_.ConsumeBool() ? 1.0 : 0.0);
    } else if (scalar.range.low < 0.0) {
      scalar.set(params_, data_.ConsumeIntegralInRange(-2, 9));
    } else {
      scalar.set(params_, Count());
    }
  }

  void MakeParams() {
    for (const ScalarParam& scalar : kScalarParams) {
      const bool is_nested = scalar.name.find('.') != absl::string_view::npos;
      // Parameters of a nested message are set with it, below.
      if (is_nested && !scalar.is_there(params_)) continue;
      const bool is_common = scalar.name == "top_k" || scalar.name == "top_p";
      if (is_common ? data_.ConsumeBool() : Rarely()) Set(scalar);
    }
    if (Rarely()) params_.top_k_ties = TiePolicy::kKeepAll;
    if (Rarely()) params_.dynamic_temperature = DynamicTemperature{Number(), Number()};
    if (Rarely()) {
      params_.temperature_schedule =
          TemperatureSchedule{data_.ConsumeBool() ? TemperatureSchedule::Kind::kLinear
                                                  : TemperatureSchedule::Kind::kExponential,
                              Number(), Number(), Count()};
    }
    params_.invalid_values =
        data_.PickValueInArray({InvalidValuePolicy::kFail, InvalidValuePolicy::kSanitize,
                                InvalidValuePolicy::kSanitizeUniform});
    MakeOrder();
    if (Rarely()) MakeStateful();
    if (data_.ConsumeBool()) MakeAdjustments();
  }

  void MakeOutputs() {
    outputs_.logprobs = data_.ConsumeBool();
    outputs_.top_logprobs = data_.ConsumeIntegralInRange<uint32_t>(0, 4);
    outputs_.logprob_mode = data_.ConsumeBool() ? LogprobMode::kRaw : LogprobMode::kProcessed;
    outputs_.ranks = Rarely();
    outputs_.rank_mode = data_.ConsumeBool() ? RankMode::kGreater : RankMode::kGreaterEqual;
    outputs_.kept_count = Rarely();
    outputs_.kept_set = Rarely();
    outputs_.entropy = Rarely();
    outputs_.extremes = Rarely();
    outputs_.weights = Rarely();
    if (Rarely()) outputs_.gumbel_softmax = data_.PickValueInArray({1e-6, 0.5, 1e6});
    row_.outputs = &outputs_;
  }

  // Makes distinct ids with counts, and a set.
  void MakeCounts() {
    prompt_ = Ids();
    output_ = Ids();
    std::sort(output_.begin(), output_.end());
    output_.erase(std::unique(output_.begin(), output_.end()), output_.end());
    for (size_t i = 0; i < output_.size(); ++i) counts_.push_back(std::max(Count(), 1u));
    history_.prompt_set = prompt_;
    history_.output_count_ids = output_;
    history_.output_counts = counts_;
  }

  void MakeHistory() {
    row_.history = &history_;
    history_.skip_unknown_ids = data_.ConsumeBool();
    if (Rarely()) return MakeCounts();
    prompt_ = Ids();
    output_ = Ids();
    output_.insert(output_.end(), prompt_.begin(), prompt_.end());
    history_.prompt_ids = prompt_;
    history_.output_ids = output_;
  }

  void MakeBitmask() {
    bitmask_ = data_.ConsumeBytes<uint8_t>(static_cast<size_t>((row_.vocab + 31) / 32 * 4));
    bitmask_.resize(static_cast<size_t>((row_.vocab + 31) / 32 * 4), 0xff);
    row_.bitmask = bitmask_.data();
  }

  void MakeState() {
    if (Rarely()) state_.mirostat_mu = Number();
    if (Rarely()) state_.adaptive_p_sum = Number();
    if (Rarely()) state_.adaptive_p_weight = Number();
    if (Rarely()) state_.top_p = Number();
    row_.state = &state_;
  }

  // Makes values: one to four different ones, and some that cannot be drawn.
  void MakeTinyValues() {
    const bool logits = row_.kind == InputKind::kLogits;
    row_.dtype = DataType::kFloat64;
    std::vector<double> palette = {logits ? -std::numeric_limits<double>::infinity() : 0.0};
    for (int left = data_.ConsumeIntegralInRange(1, 4); left > 0; --left) {
      palette.push_back(
          logits ? data_.PickValueInArray({0.0, 1.0, -1.0, 0.5, -3.0, -32.0, -40.0, -100.0})
                 : data_.PickValueInArray({1.0, 2.0, 3.0, 20.0, 1e-14, 1e-44, 1e-310, 1e300}));
    }
    for (int64_t id = 0; id < row_.vocab; ++id) {
      const double value = palette[data_.ConsumeIntegralInRange<size_t>(0, palette.size() - 1)];
      const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
      values_.insert(values_.end(), bytes, bytes + sizeof(value));
    }
  }

  // Fills the row with the rest of the input, repeated until the row is full.
  void MakeValues() {
    row_.dtype = data_.PickValueInArray(
        {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16, DataType::kFloat64});
    const size_t size = static_cast<size_t>(row_.vocab) * ElementSize(row_.dtype);
    std::vector<uint8_t> rest = data_.ConsumeRemainingBytes<uint8_t>();
    if (rest.empty()) rest.push_back(0);
    values_.reserve(size);
    for (size_t i = 0; i < size; ++i) values_.push_back(rest[i % rest.size()]);
  }

  FuzzedDataProvider& data_;
  bool tiny_;
  RowInput row_;
  SamplingParams params_;
  OutputOptions outputs_;
  std::vector<uint32_t> prompt_;
  std::vector<uint32_t> output_;
  std::vector<uint32_t> counts_;
  std::vector<uint8_t> bitmask_;
  RowHistory history_;
  RowState state_;
  std::vector<uint8_t> values_;
};

const std::vector<std::unique_ptr<Sampler>>& CpuSamplers() {
  static const auto* samplers = [] {
    auto* every = new std::vector<std::unique_ptr<Sampler>>;
    for (const std::string& target : CpuSamplerTargets()) {
      every->push_back(CreateCpuSampler({.threads = 1, .target = target}).value());
    }
    return every;
  }();
  return *samplers;
}

void TestOne(const RowInput& row) {
  if (!ValidateParams(*row.params, row.kind, row.vocab, {}).ok()) return;
  // A million draws with replacement are allowed, but slow.
  if (row.params->num_samples > 1000) return;
  static Sampler& reference = *CreateReferenceSampler().release();
  RowResult expected;
  if (!reference.Sample({&row, 1}, {&expected, 1}).ok()) std::abort();
  for (const std::unique_ptr<Sampler>& sampler : CpuSamplers()) {
    RowResult actual;
    if (!sampler->Sample({&row, 1}, {&actual, 1}).ok()) std::abort();
    const std::string difference = testing::RowDifference(actual, expected);
    if (difference.empty()) continue;
    std::fprintf(stderr, "%s differs from the reference in %s\n", sampler->device().c_str(),
                 difference.c_str());
    std::abort();
  }
}

}  // namespace
}  // namespace token_sampler

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  token_sampler::TestOne(token_sampler::RowMaker(data).row());
  return 0;
}
