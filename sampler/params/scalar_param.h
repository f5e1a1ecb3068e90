// The row type of the table of scalar parameters in sampling_params.h, and functions that make
// rows.

#ifndef TOKEN_SAMPLER_SAMPLER_PARAMS_SCALAR_PARAM_H_
#define TOKEN_SAMPLER_SAMPLER_PARAMS_SCALAR_PARAM_H_

#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"

namespace token_sampler {

struct SamplingParams;

// The range of values that a parameter may have.
struct ParamRange {
  double low;
  double high;
  bool without_low = false;
  bool without_high = false;
  bool or_zero = false;  // 0 is accepted though it is below `low`

  // Returns false for NaN.
  constexpr bool Contains(double value) const {
    if (or_zero && value == 0.0) return true;
    const bool above = without_low ? value > low : value >= low;
    const bool below = without_high ? value < high : value <= high;
    return above && below;
  }
  // Returns text that follows "must be": "in [0, 1)", "at least 1", "0 or in [1e-6, 1e6]".
  std::string ToString() const;
};

constexpr ParamRange Closed(double low, double high) { return {low, high}; }
constexpr ParamRange Above(double low, double high) { return {low, high, true}; }
constexpr ParamRange Below(double low, double high) { return {low, high, false, true}; }
constexpr ParamRange ZeroOr(double low, double high) { return {low, high, false, false, true}; }
constexpr ParamRange AtLeast(double low) { return {low, std::numeric_limits<double>::infinity()}; }

struct ScalarParam {
  // The field's name in token_sampler.v1.SamplingParams. A dot comes before a field of a nested
  // message: "xtc.threshold".
  absl::string_view name;
  ParamRange range;
  // True: the parameter must have its default if the values are weights instead of logits.
  bool logits_only;
  // True if the optional that holds the parameter has a value. If not, get() returns 0; set() makes
  // the value.
  bool (*is_there)(const SamplingParams&);
  double (*get)(const SamplingParams&);
  // `value` must fit the member's type.
  void (*set)(SamplingParams&, double value);
};

namespace scalar_param_internal {

template <typename T>
const T* Find(const T& member) {
  return &member;
}
template <typename T>
const T* Find(const std::optional<T>& member) {
  return member.has_value() ? &*member : nullptr;
}
template <typename T>
T& Make(T& member) {
  return member;
}
template <typename T>
T& Make(std::optional<T>& member) {
  return member.has_value() ? *member : member.emplace();
}

// The member that a path leads to: a member of `params`, or one of a struct in it. FindIn returns
// null where an optional on the path is empty; MakeIn fills it.
template <auto kMember>
auto* FindIn(const SamplingParams& params) {
  return Find(params.*kMember);
}
template <auto kStruct, auto kMember>
auto* FindIn(const SamplingParams& params) {
  const auto* const holder = Find(params.*kStruct);
  return holder == nullptr ? nullptr : &(holder->*kMember);
}
template <auto kMember>
auto& MakeIn(SamplingParams& params) {
  return Make(params.*kMember);
}
template <auto kStruct, auto kMember>
auto& MakeIn(SamplingParams& params) {
  return Make(params.*kStruct).*kMember;
}

}  // namespace scalar_param_internal

// The row of a number or switch: the path to its member of SamplingParams, then its name and range.
template <auto... kPath>
constexpr ScalarParam Scalar(absl::string_view name, ParamRange range, bool logits_only = false) {
  namespace internal = scalar_param_internal;
  return {
      name,
      range,
      logits_only,
      [](const SamplingParams& params) { return internal::FindIn<kPath...>(params) != nullptr; },
      [](const SamplingParams& params) {
        const auto* const member = internal::FindIn<kPath...>(params);
        return member == nullptr ? 0.0 : static_cast<double>(*member);
      },
      [](SamplingParams& params, double value) {
        auto& member = internal::MakeIn<kPath...>(params);
        member = static_cast<std::remove_reference_t<decltype(member)>>(value);
      }};
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_PARAMS_SCALAR_PARAM_H_
