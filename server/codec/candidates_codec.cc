#include "server/codec/candidates_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"

namespace token_sampler {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

absl::Status CheckLengths(const v1::Tensor& tensor) {
  const v1::Candidates& message = tensor.candidates();
  if (static_cast<uint32_t>(message.lengths_size()) != tensor.rows()) {
    return Invalid("tensor.candidates.lengths must have one entry per row (", tensor.rows(),
                   "), got ", message.lengths_size());
  }
  uint64_t sum = 0;
  for (int r = 0; r < message.lengths_size(); ++r) {
    if (message.lengths(r) < 1 || message.lengths(r) > tensor.vocab()) {
      return Invalid("tensor.candidates.lengths[", r, "] must be in [1, ", tensor.vocab(),
                     "], got ", message.lengths(r));
    }
    sum += message.lengths(r);
  }
  if (sum == static_cast<uint64_t>(message.token_ids_size())) return absl::OkStatus();
  return Invalid("tensor.candidates.token_ids must have as many entries as lengths sum up to, ",
                 sum, ", got ", message.token_ids_size());
}

// Checks that there is one entry per row, or none.
absl::Status CheckCount(absl::string_view field, int entries, uint32_t rows) {
  if (entries == 0 || static_cast<uint32_t>(entries) == rows) return absl::OkStatus();
  return Invalid("tensor.candidates.", field, " must have one entry per row (", rows,
                 ") or none, got ", entries);
}

absl::Status DecodeLeftOut(const v1::Tensor& tensor, InputKind kind,
                           std::vector<LeftOut>& left_out) {
  const v1::Candidates& message = tensor.candidates();
  RETURN_IF_ERROR(CheckCount("rest_log_sum_exp", message.rest_log_sum_exp_size(), tensor.rows()));
  RETURN_IF_ERROR(CheckCount("rest_counts", message.rest_counts_size(), tensor.rows()));
  if (kind == InputKind::kWeights && message.rest_log_sum_exp_size() > 0) {
    return Invalid("tensor.candidates.rest_log_sum_exp is for logits, not for weights");
  }
  left_out.resize(tensor.rows());
  for (int r = 0; r < static_cast<int>(tensor.rows()); ++r) {
    LeftOut& row = left_out[static_cast<size_t>(r)];
    row.vocab = tensor.vocab();
    if (message.rest_log_sum_exp_size() > 0) {
      const double value = message.rest_log_sum_exp(r);
      if (!std::isfinite(value) && value != -kInfinity) {
        return Invalid("tensor.candidates.rest_log_sum_exp[", r,
                       "] must be finite or -infinity, got ", value);
      }
      row.log_sum_exp = value;
    }
    if (message.rest_counts_size() > 0) {
      const uint32_t most = tensor.vocab() - message.lengths(r);
      if (message.rest_counts(r) > most) {
        return Invalid("tensor.candidates.rest_counts[", r, "] must be at most ", most,
                       ", the tokens that are no candidates, got ", message.rest_counts(r));
      }
      row.count = message.rest_counts(r);
    }
  }
  return absl::OkStatus();
}

// Writes the row's candidates by ascending id.
absl::Status SortRow(const v1::Tensor& tensor, size_t row, size_t element_size,
                     DecodedCandidates& candidates) {
  const v1::Candidates& message = tensor.candidates();
  const size_t begin = candidates.begins[row];
  const size_t end = candidates.begins[row + 1];
  std::vector<uint32_t> order(end - begin);
  std::iota(order.begin(), order.end(), static_cast<uint32_t>(begin));
  const auto id = [&](uint32_t i) { return message.token_ids(static_cast<int>(i)); };
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return id(a) < id(b); });
  for (size_t i = 0; i < order.size(); ++i) {
    if (id(order[i]) >= tensor.vocab()) {
      return Invalid("tensor.candidates.token_ids[", order[i], "] must be below vocab, ",
                     tensor.vocab(), ", got ", id(order[i]));
    }
    if (i > 0 && id(order[i]) == id(order[i - 1])) {
      return Invalid("tensor.candidates.token_ids of row ", row, " must not hold token ",
                     id(order[i]), " twice");
    }
    candidates.ids[begin + i] = id(order[i]);
    std::memcpy(candidates.values.data() + (begin + i) * element_size,
                message.values().data() + order[i] * element_size, element_size);
  }
  return absl::OkStatus();
}

absl::Status NotOfCandidates(absl::string_view field) {
  return Invalid(field,
                 " must not be set with tensor.candidates: adjust the logits before the candidates "
                 "are chosen");
}

bool AdjustsTokens(const SamplingParams& params) {
  return !params.allowed_ids.empty() || !params.banned_ids.empty() || !params.bad_words.empty() ||
         !params.stop_ids.empty() || !params.logit_bias.empty() ||
         params.repetition_penalty != 1.0 || params.frequency_penalty != 0.0 ||
         params.presence_penalty != 0.0 || params.no_repeat_ngram_size != 0 ||
         params.dry.multiplier != 0.0 || params.top_p_decay.has_value();
}

void ToRealIds(const DecodedCandidates& candidates, uint32_t row, std::vector<uint32_t>& tokens) {
  for (uint32_t& token : tokens) token = candidates.ids[candidates.begins[row] + token];
}

}  // namespace

absl::StatusOr<std::vector<RowInput>> DecodeCandidates(const v1::Tensor& tensor, InputKind kind,
                                                       const CallContext& context,
                                                       DecodedCandidates& candidates) {
  ASSIGN_OR_RETURN(const DataType type, DecodeShape(tensor, "tensor", context));
  RETURN_IF_ERROR(CheckLengths(tensor));
  const v1::Candidates& message = tensor.candidates();
  const size_t element_size = ElementSize(type);
  const auto count = static_cast<size_t>(message.token_ids_size());
  if (message.values().size() != count * element_size) {
    return Invalid("tensor.candidates.values must have ", count * element_size, " bytes for ",
                   Counted(count, "value"), " of ", DataTypeName(type), ", got ",
                   message.values().size());
  }
  RETURN_IF_ERROR(DecodeLeftOut(tensor, kind, candidates.left_out));
  candidates.reject = message.inexact() == v1::INEXACT_POLICY_REJECT;
  candidates.ids.resize(count);
  candidates.values.resize(count * element_size);
  candidates.exact.resize(tensor.rows());
  candidates.begins.push_back(0);
  for (const uint32_t length : message.lengths()) {
    candidates.begins.push_back(candidates.begins.back() + length);
  }
  std::vector<RowInput> rows(tensor.rows());
  for (size_t r = 0; r < rows.size(); ++r) {
    RETURN_IF_ERROR(SortRow(tensor, r, element_size, candidates));
    rows[r].values = candidates.values.data() + candidates.begins[r] * element_size;
    rows[r].dtype = type;
    rows[r].vocab = tensor.vocab();
    rows[r].kind = kind;
  }
  return rows;
}

absl::Status CheckCandidateRequest(const v1::SampleRequest& request,
                                   absl::Span<const SamplingParams> profiles) {
  if (request.has_histories()) return NotOfCandidates("histories");
  if (request.has_bitmask()) return NotOfCandidates("bitmask");
  for (size_t i = 0; i < profiles.size(); ++i) {
    if (!AdjustsTokens(profiles[i])) continue;
    return NotOfCandidates(
        absl::StrCat("params[", i, "]: ids, penalties, logit_bias, n-grams, dry and top_p_decay"));
  }
  const v1::OutputOptions& outputs = request.outputs();
  if (outputs.has_gumbel_softmax()) {
    return Invalid(
        "outputs.gumbel_softmax must not be set with tensor.candidates: it has an entry "
        "for every token");
  }
  const bool distribution = outputs.logprobs() || outputs.top_logprobs() > 0 || outputs.ranks() ||
                            outputs.entropy() || outputs.extremes();
  if (distribution && outputs.logprob_mode() != v1::LOGPROB_MODE_PROCESSED) {
    return Invalid(
        "outputs.logprob_mode must be PROCESSED with tensor.candidates: the row as "
        "received is not there");
  }
  for (const uint32_t length : request.tensor().candidates().lengths()) {
    if (outputs.top_logprobs() > length) {
      return Invalid("outputs.top_logprobs must be at most the ", Counted(length, "candidate"),
                     " of a row, got ", outputs.top_logprobs());
    }
  }
  return absl::OkStatus();
}

void ChooseDraw(uint32_t row_index, DecodedCandidates& candidates, RowInput& row) {
  if (candidates.begins.empty()) return;
  row.vocab = static_cast<int64_t>(candidates.begins[row_index + 1] - candidates.begins[row_index]);
  CandidateDraw draw = DecideCandidates(row, candidates.left_out[row_index]);
  candidates.exact[row_index] = draw.exact;
  if (draw.params.has_value()) {
    row.params = &candidates.params.emplace_back(*std::move(draw.params));
  }
  candidates.sampled.push_back(row_index);
}

void FinishCandidates(const DecodedCandidates& candidates, absl::Span<RowResult> results) {
  if (candidates.begins.empty()) return;
  for (size_t i = 0; i < results.size(); ++i) {
    RowResult& result = results[i];
    const uint32_t row = candidates.sampled[i];
    if (!HasTokens(result.code)) {
      result.message = absl::StrCat("among the candidates by ascending id: ", result.message);
      continue;
    }
    ToRealIds(candidates, row, result.token_ids);
    ToRealIds(candidates, row, result.top_token_ids);
    ToRealIds(candidates, row, result.kept_token_ids);
    if (candidates.exact[row]) continue;
    if (candidates.reject) {
      result.Clear();
      result.code = RowCode::kInexact;
      result.message = "the candidates do not decide the draw of the whole row";
    } else if (result.code == RowCode::kOk) {
      result.code = RowCode::kApproximate;
      result.message = "drawn among the candidates, which do not decide the draw of the whole row";
    }
  }
}

}  // namespace token_sampler
