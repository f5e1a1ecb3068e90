#include "server/describe_codec.h"

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "server/field_check.h"

namespace token_sampler {

absl::Status DecodeDescribe(const v1::DescribeRequest& request, const RequestLimits& limits,
                            DecodedSample& decoded, uint32_t& top_n) {
  if (absl::Status status = CheckFields(request); !status.ok()) return status;
  const v1::SampleRequest& sample = request.request();
  if (sample.tensor().rows() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("request.tensor.rows must be 1, got ", sample.tensor().rows()));
  }
  if (sample.tensor().has_candidates()) {
    return absl::InvalidArgumentError("request.tensor.candidates are for Sample alone");
  }
  if (sample.has_outputs()) {
    return absl::InvalidArgumentError("request.outputs must not be set: nothing is drawn");
  }
  constexpr uint32_t kDefaultTopN = 10;
  top_n = request.has_top_n() ? request.top_n() : kDefaultTopN;
  if (request.has_top_n() && top_n > sample.tensor().vocab()) {
    return absl::InvalidArgumentError(absl::StrCat("top_n must be at most the ",
                                                   Counted(sample.tensor().vocab(), "token"),
                                                   " of the row, got ", top_n));
  }
  return DecodeSample(sample, limits, decoded);
}

void EncodeDescribe(const DecodedSample& decoded, const std::vector<StageView>& views,
                    const RowResult& result, v1::DescribeResponse& response) {
  response.set_spec_version(kSpecVersion);
  response.mutable_skipped_ids()->Add(decoded.skipped_ids.begin(), decoded.skipped_ids.end());
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
  status.set_code(static_cast<v1::RowCode>(result.code));
  status.set_message(result.message);
}

}  // namespace token_sampler
