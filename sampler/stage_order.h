// The stages of the pipeline and the orders that they can have.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGE_ORDER_H_
#define TOKEN_SAMPLER_SAMPLER_STAGE_ORDER_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace token_sampler {

// Numbers are those of token_sampler.v1.Stage.
enum class Stage : uint8_t {
  kTemperature = 1,
  kMinP = 2,
  kTopK = 3,
  kTopP = 4,
  kTypical = 5,
  kEpsilon = 6,
  kEta = 7,
  kTopNSigma = 8,
  kPLess = 9,
  kXtc = 10,
  kMirostat = 11,
  kAdaptiveP = 12,
  kTopKTopP = 13,  // both on the same masses: top-p is not renormalised by top-k
};

// "TOP_K", as token_sampler.v1.Stage has it without its prefix.
constexpr const char* StageName(Stage stage) {
  constexpr const char* kNames[] = {
      "",    "TEMPERATURE", "MIN_P",  "TOP_K", "TOP_P",    "TYPICAL_P",  "EPSILON",
      "ETA", "TOP_N_SIGMA", "P_LESS", "XTC",   "MIROSTAT", "ADAPTIVE_P", "TOP_K_TOP_P"};
  return kNames[static_cast<size_t>(stage)];
}

// Stages in the order in which they act, none twice.
class StageOrder {
 public:
  static constexpr size_t kMaxStages = 16;

  constexpr StageOrder() = default;
  template <typename... Stages>
  constexpr explicit StageOrder(Stages... stages) : stages_{stages...}, size_(sizeof...(stages)) {}

  // False, without a change, when `stage` is there already.
  constexpr bool Add(Stage stage) {
    if (Contains(stage)) return false;
    stages_[size_++] = stage;
    return true;
  }

  constexpr bool Contains(Stage stage) const {
    for (const Stage& other : *this) {
      if (other == stage) return true;
    }
    return false;
  }

  constexpr const Stage* begin() const { return stages_.data(); }
  constexpr const Stage* end() const { return stages_.data() + size_; }
  constexpr size_t size() const { return size_; }
  constexpr bool operator==(const StageOrder& other) const = default;

 private:
  std::array<Stage, kMaxStages> stages_{};
  size_t size_ = 0;
};

// Orders of engines. Stages that an engine does not have stand behind its own.
inline constexpr StageOrder kVllmOrder(Stage::kTemperature, Stage::kMinP, Stage::kTopK,
                                       Stage::kTopP, Stage::kTypical, Stage::kEpsilon, Stage::kEta,
                                       Stage::kTopNSigma, Stage::kPLess, Stage::kXtc,
                                       Stage::kMirostat, Stage::kAdaptiveP);
inline constexpr StageOrder kHfOrder(Stage::kTemperature, Stage::kTopK, Stage::kTopP, Stage::kMinP,
                                     Stage::kTypical, Stage::kEpsilon, Stage::kEta,
                                     Stage::kTopNSigma, Stage::kPLess, Stage::kXtc,
                                     Stage::kMirostat, Stage::kAdaptiveP);
inline constexpr StageOrder kLlamaCppOrder(Stage::kTopNSigma, Stage::kTopK, Stage::kTypical,
                                           Stage::kTopP, Stage::kMinP, Stage::kXtc,
                                           Stage::kTemperature, Stage::kEpsilon, Stage::kEta,
                                           Stage::kPLess, Stage::kMirostat, Stage::kAdaptiveP);
inline constexpr StageOrder kSglangOrder(Stage::kTemperature, Stage::kTopKTopP, Stage::kMinP,
                                         Stage::kTypical, Stage::kEpsilon, Stage::kEta,
                                         Stage::kTopNSigma, Stage::kPLess, Stage::kXtc,
                                         Stage::kMirostat, Stage::kAdaptiveP);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGE_ORDER_H_
