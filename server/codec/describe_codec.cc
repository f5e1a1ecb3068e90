#include "server/codec/describe_codec.h"

#include "client/usage/counted.h"
#include "sampler/params/stage_table.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/wire_enums.h"

namespace token_sampler {
namespace {

uint64_t NumStagesOn(const SamplingParams& params) {
  uint64_t on = 0;
  for (const Stage stage : params.stage_order) on += StageIsOn(params, stage) ? 1 : 0;
  return on;
}

// Measures the views: of the row as received, as adjusted, and after each stage that is on.
absl::StatusOr<AnswerSize> MeasureViews(const SamplingParams& params, uint32_t top_n,
                                        const CallContext& context) {
  constexpr uint64_t kViewBytes = 128;
  constexpr uint64_t kViewMemoryBytes = 1024;
  constexpr uint64_t kTokenBytes = sizeof(uint32_t) + sizeof(double);
  // In the view and in the message, both in arrays that double, and in the message's bytes.
  constexpr uint64_t kCopies = 5;
  const uint64_t views = 2 + NumStagesOn(params);
  const AnswerSize answer = {.message = views * (kViewBytes + top_n * kTokenBytes),
                             .memory = views * (kViewMemoryBytes + top_n * kTokenBytes * kCopies)};
  if (answer.message <= context.limits.max_response_bytes) return answer;
  return Invalid("top_n must be smaller, got ", top_n, ": the answer could have ", answer.message,
                 " bytes, above the limit of ", context.limits.max_response_bytes,
                 " (--max-response-bytes)");
}

}  // namespace

absl::StatusOr<uint32_t> DecodeDescribe(const v1::DescribeRequest& request,
                                        const CallContext& context, DecodedSample& decoded) {
  const v1::SampleRequest& sample = request.request();
  if (sample.tensor().rows() != 1) {
    return Invalid("request.tensor.rows must be 1, got ", sample.tensor().rows());
  }
  if (sample.tensor().has_candidates()) {
    return Invalid("request.tensor.candidates must not be set: only Sample takes candidates");
  }
  if (sample.has_outputs()) {
    return Invalid("request.outputs must not be set: nothing is drawn");
  }
  constexpr uint32_t kDefaultTopN = 10;
  const uint32_t top_n = request.has_top_n() ? request.top_n() : kDefaultTopN;
  if (request.has_top_n() && top_n > sample.tensor().vocab()) {
    return absl::InvalidArgumentError(absl::StrCat("top_n must be at most the ",
                                                   Counted(sample.tensor().vocab(), "token"),
                                                   " of the row, got ", top_n));
  }
  RETURN_IF_ERROR(DecodeSample(sample, context, decoded));
  ASSIGN_OR_RETURN(decoded.answer, MeasureViews(*decoded.inputs.front().params, top_n, context));
  return top_n;
}

uint64_t DescribeWorkBytes(const RowInput& row) {
  // Measured: 2.7 GiB for 2^24 tokens, most of it for sorted tokens before and after a stage.
  constexpr uint64_t kTokenBytes = 176;
  return static_cast<uint64_t>(row.vocab) * kTokenBytes;
}

void EncodeDescribe(const DecodedSample& decoded, const std::vector<StageView>& views,
                    const RowResult& result, v1::DescribeResponse& response) {
  response.set_spec_version(kSpecVersion);
  const std::vector<uint32_t>& skipped_ids = decoded.histories.skipped_ids;
  response.mutable_skipped_ids()->Add(skipped_ids.begin(), skipped_ids.end());
  for (const StageView& view : views) {
    v1::DescribeResponse::Distribution& message = *response.add_distributions();
    message.set_stage(view.stage);
    message.set_kept_count(view.kept_count);
    message.set_entropy(view.entropy);
    message.set_max_probability(view.max_probability);
    message.set_min_probability(view.min_probability);
    message.mutable_top_token_ids()->Add(view.top_token_ids.begin(), view.top_token_ids.end());
    message.mutable_top_probabilities()->Add(view.top_probabilities.begin(),
                                             view.top_probabilities.end());
    message.set_removed_mass(view.removed_mass);
  }
  if (result.code == RowCode::kOk) return;
  v1::RowStatus& status = *response.add_row_statuses();
  status.set_row(0);
  status.set_code(ToWire(result.code));
  status.set_message(result.message);
}

}  // namespace token_sampler
