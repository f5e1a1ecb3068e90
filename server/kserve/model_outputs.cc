#include "server/kserve/model_outputs.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace token_sampler {
namespace {

constexpr int32_t kNoToken = -1;
constexpr float kNoFloat = std::numeric_limits<float>::quiet_NaN();
constexpr double kNoDouble = std::numeric_limits<double>::quiet_NaN();

template <typename Element>
void Append(Element element, std::string& data) {
  data.append(reinterpret_cast<const char*>(&element), sizeof(element));
}

// Appends the elements of [first, last), padded with `padding` to `width` elements.
template <typename Element, typename Iterator>
void AppendRow(Iterator first, Iterator last, int64_t width, Element padding, std::string& data) {
  for (int64_t column = 0; column < width; ++column) {
    Append(first == last ? padding : static_cast<Element>(*first), data);
    if (first != last) ++first;
  }
}

const v1::RowDetail& DetailOf(const AnsweredRow& row) {
  return row.sampled.details_size() > row.row ? row.sampled.details(row.row)
                                              : v1::RowDetail::default_instance();
}

const v1::RowState& StateOf(const AnsweredRow& row) {
  return row.sampled.states_size() > row.row ? row.sampled.states(row.row)
                                             : v1::RowState::default_instance();
}

template <typename Element, typename Values>
void AppendValues(const Values& values, int64_t width, Element padding, std::string& data) {
  AppendRow<Element>(values.begin(), values.end(), width, padding, data);
}

// An optional number of a message.
template <auto kHas, auto kGet, typename Message>
void AppendNumber(const Message& message, std::string& data) {
  Append((message.*kHas)() ? (message.*kGet)() : kNoDouble, data);
}

// Elements of the kept sets, which all rows share.
template <typename Element, typename Values>
void AppendKept(const AnsweredRow& row, const Values& values, int64_t width, Element padding,
                std::string& data) {
  const v1::KeptSets& sets = row.sampled.kept_sets();
  const auto first = values.begin() + static_cast<int>(sets.offsets(row.row));
  const auto last = values.begin() + static_cast<int>(sets.offsets(row.row + 1));
  AppendRow<Element>(first, last, width, padding, data);
}

using Row = AnsweredRow;
using Detail = v1::RowDetail;
using State = v1::RowState;

constexpr ModelOutputField kModelOutputs[] = {
    {"token_ids", "INT32", OutputWidth::kDraws, "", true,
     [](const Row& row, int64_t width, std::string& data) {
       const auto first = row.sampled.token_ids().begin() + row.first_token;
       const auto last = first + static_cast<int>(row.sampled.token_counts(row.row));
       AppendRow<int32_t>(first, last, width, kNoToken, data);
     }},
    {"status", "INT32", OutputWidth::kOne, "", true,
     [](const Row& row, int64_t, std::string& data) {
       Append<int32_t>(row.status == nullptr ? v1::ROW_CODE_OK : row.status->code(), data);
     }},
    {"message", "BYTES", OutputWidth::kOne, "", true,
     [](const Row& row, int64_t, std::string& data) {
       const std::string message = row.status == nullptr ? "" : row.status->message();
       Append(static_cast<uint32_t>(message.size()), data);
       data.append(message);
     }},
    {"seed", "UINT64", OutputWidth::kOne, "", true,
     [](const Row& row, int64_t, std::string& data) {
       Append<uint64_t>(row.sampled.seeds(row.row), data);
     }},
    {"step", "UINT64", OutputWidth::kOne, "", true,
     [](const Row& row, int64_t, std::string& data) {
       Append<uint64_t>(row.sampled.steps(row.row), data);
     }},
    {"stream", "UINT32", OutputWidth::kOne, "", true,
     [](const Row& row, int64_t, std::string& data) {
       Append<uint32_t>(row.sampled.streams(row.row), data);
     }},
    {"logprobs", "FP32", OutputWidth::kDraws, "logprobs", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendValues<float>(DetailOf(row).logprobs(), width, kNoFloat, data);
     }},
    {"ranks", "UINT32", OutputWidth::kDraws, "ranks", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendValues<uint32_t>(DetailOf(row).ranks(), width, 0u, data);
     }},
    {"top_token_ids", "INT32", OutputWidth::kTopLogprobs, "top_logprobs", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendValues<int32_t>(DetailOf(row).top_token_ids(), width, kNoToken, data);
     }},
    {"top_logprobs", "FP32", OutputWidth::kTopLogprobs, "top_logprobs", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendValues<float>(DetailOf(row).top_logprobs(), width, kNoFloat, data);
     }},
    {"kept_count", "UINT32", OutputWidth::kOne, "kept_count", false,
     [](const Row& row, int64_t, std::string& data) {
       Append<uint32_t>(DetailOf(row).kept_count(), data);
     }},
    {"kept_token_ids", "INT32", OutputWidth::kKept, "kept_set", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendKept<int32_t>(row, row.sampled.kept_sets().token_ids(), width, kNoToken, data);
     }},
    {"kept_logprobs", "FP32", OutputWidth::kKept, "kept_set", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendKept<float>(row, row.sampled.kept_sets().logprobs(), width, kNoFloat, data);
     }},
    {"entropy", "FP64", OutputWidth::kOne, "entropy", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&Detail::has_entropy, &Detail::entropy>(DetailOf(row), data);
     }},
    {"max_probability", "FP64", OutputWidth::kOne, "extremes", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&Detail::has_max_probability, &Detail::max_probability>(DetailOf(row), data);
     }},
    {"min_probability", "FP64", OutputWidth::kOne, "extremes", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&Detail::has_min_probability, &Detail::min_probability>(DetailOf(row), data);
     }},
    {"gumbel_softmax", "FP32", OutputWidth::kRelaxed, "gumbel_softmax", false,
     [](const Row& row, int64_t width, std::string& data) {
       AppendValues<float>(DetailOf(row).gumbel_softmax(), width, kNoFloat, data);
     }},
    {"skipped_ids", "UINT32", OutputWidth::kOne, "", false,
     [](const Row& row, int64_t, std::string& data) {
       const bool has_any = row.sampled.skipped_ids_size() > row.row;
       Append<uint32_t>(has_any ? row.sampled.skipped_ids(row.row) : 0, data);
     }},
    {"state.mirostat_mu", "FP64", OutputWidth::kOne, "", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&State::has_mirostat_mu, &State::mirostat_mu>(StateOf(row), data);
     }},
    {"state.adaptive_p_sum", "FP64", OutputWidth::kOne, "", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&State::has_adaptive_p_sum, &State::adaptive_p_sum>(StateOf(row), data);
     }},
    {"state.adaptive_p_weight", "FP64", OutputWidth::kOne, "", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&State::has_adaptive_p_weight, &State::adaptive_p_weight>(StateOf(row), data);
     }},
    {"state.top_p", "FP64", OutputWidth::kOne, "", false,
     [](const Row& row, int64_t, std::string& data) {
       AppendNumber<&State::has_top_p, &State::top_p>(StateOf(row), data);
     }},
};

}  // namespace

absl::Span<const ModelOutputField> OutputFields() { return kModelOutputs; }

const ModelOutputField* FindOutputField(absl::string_view name) {
  const auto* found =
      std::find_if(std::begin(kModelOutputs), std::end(kModelOutputs),
                   [&](const ModelOutputField& field) { return field.name == name; });
  return found == std::end(kModelOutputs) ? nullptr : found;
}

}  // namespace token_sampler
