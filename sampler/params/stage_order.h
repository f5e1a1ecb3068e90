// The order in which a row's stages act. sampler/params/stage_table.h names the stages.

#ifndef TOKEN_SAMPLER_SAMPLER_PARAMS_STAGE_ORDER_H_
#define TOKEN_SAMPLER_SAMPLER_PARAMS_STAGE_ORDER_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace token_sampler {

enum class Stage : uint8_t;

// Stages in the order in which they act, each at most once.
class StageOrder {
 public:
  static constexpr size_t kMaxStages = 31;  // stage_table.h asserts that all stages fit

  constexpr StageOrder() = default;
  template <typename... Stages>
  constexpr explicit StageOrder(Stages... stages) : stages_{stages...}, size_(sizeof...(stages)) {}

  // Appends `stage`. Returns false, without a change, if the order has it already.
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
  uint8_t size_ = 0;
};

// Returns the order of vLLM, kVllmOrder of stage_table.h.
StageOrder DefaultStageOrder();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_PARAMS_STAGE_ORDER_H_
