#include "client/wire/verify_draft_wire.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "client/wire/params_wire.h"
#include "client/wire/tensor_wire.h"
#include "client/wire/wire_enums.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

v1::InputKind ToProto(InputKind kind) {
  return kind == InputKind::kWeights ? v1::INPUT_KIND_WEIGHTS : v1::INPUT_KIND_LOGITS;
}

bool HasTrees(const std::vector<DraftSequence>& sequences) {
  return std::any_of(sequences.begin(), sequences.end(),
                     [](const DraftSequence& sequence) { return !sequence.parents.empty(); });
}

absl::Status CheckParents(const std::vector<DraftSequence>& sequences) {
  for (size_t s = 0; s < sequences.size(); ++s) {
    const size_t parents = sequences[s].parents.size();
    const size_t tokens = sequences[s].token_ids.size();
    if (parents == 0 || parents == tokens) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("sequences[", s, "].parents must have one entry per drafted token (", tokens,
                     ") or none, got ", parents));
  }
  return absl::OkStatus();
}

// The request without its tensors.
v1::VerifyDraftRequest ToProto(const VerifyDraftRequest& request) {
  v1::VerifyDraftRequest proto;
  proto.set_input_kind(ToProto(request.kind));
  if (request.draft_kind) proto.set_draft_kind(ToProto(*request.draft_kind));
  const bool trees = HasTrees(request.sequences);
  for (const DraftSequence& sequence : request.sequences) {
    const auto tokens = static_cast<int32_t>(sequence.token_ids.size());
    proto.add_draft_lengths(static_cast<uint32_t>(tokens));
    proto.mutable_draft_token_ids()->Add(sequence.token_ids.begin(), sequence.token_ids.end());
    proto.mutable_parents()->Add(sequence.parents.begin(), sequence.parents.end());
    if (!trees || !sequence.parents.empty()) continue;
    for (int32_t node = 0; node < tokens; ++node) proto.add_parents(node - 1);
  }
  for (const SamplingParams& params : request.params) ToProto(params, proto.add_params());
  proto.mutable_sequence_params()->Add(request.sequence_params.begin(),
                                       request.sequence_params.end());
  ToProto(request.keys, proto.mutable_keys());
  if (!request.histories.empty()) {
    ToProto(request.histories, request.skip_unknown_ids, proto.mutable_histories());
  }
  if (!request.bitmask.empty()) proto.mutable_bitmask()->set_words(request.bitmask);
  return proto;
}

// Gives each sequence its accepted nodes and its tokens, in their order.
absl::Status DecodeTokens(const v1::VerifyDraftResponse& response, bool trees,
                          std::vector<DraftResult>& results) {
  int64_t accepted = 0;
  int64_t tokens = 0;
  for (size_t s = 0; s < results.size(); ++s) {
    const int64_t count = response.accepted_counts(static_cast<int>(s));
    if (results[s].failed() && count != 0) {
      return Malformed(absl::StrCat("sequence ", s, " failed and has accepted tokens"));
    }
    accepted += count;
    tokens += results[s].failed() ? 0 : count + 1;
  }
  if (response.token_ids_size() != tokens ||
      response.accepted_nodes_size() != (trees ? accepted : 0)) {
    return Malformed(absl::StrCat("token_ids and accepted_nodes have ", response.token_ids_size(),
                                  " and ", response.accepted_nodes_size(),
                                  " entries, accepted_counts add up to ", accepted));
  }
  auto node = response.accepted_nodes().begin();
  auto token = response.token_ids().begin();
  for (size_t s = 0; s < results.size(); ++s) {
    if (results[s].failed()) continue;
    const auto count = static_cast<int>(response.accepted_counts(static_cast<int>(s)));
    results[s].accepted = static_cast<uint32_t>(count);
    results[s].token_ids.assign(token, token + count + 1);
    token += count + 1;
    if (!trees) continue;
    results[s].accepted_nodes.assign(node, node + count);
    node += count;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<grpc::ByteBuffer> EncodeVerifyDraftRequest(const VerifyDraftRequest& request) {
  RETURN_IF_ERROR(CheckParents(request.sequences));
  RETURN_IF_ERROR(CheckHistories(request.histories, request.skip_unknown_ids));
  RETURN_IF_ERROR(CheckMatrix(request.target, "target"));
  std::vector<TensorField> tensors = {
      {v1::VerifyDraftRequest::kTargetFieldNumber, &request.target}};
  if (request.draft) {
    RETURN_IF_ERROR(CheckMatrix(*request.draft, "draft"));
    tensors.push_back({v1::VerifyDraftRequest::kDraftFieldNumber, &*request.draft});
  }
  return EncodeWithTensors(tensors, ToProto(request));
}

absl::StatusOr<VerifyDraftResult> DecodeVerifyDraftResponse(
    const v1::VerifyDraftResponse& response, const std::vector<DraftSequence>& sequences) {
  const size_t count = sequences.size();
  for (const int entries :
       {response.accepted_counts_size(), response.seeds_size(), response.streams_size()}) {
    if (static_cast<size_t>(entries) == count) continue;
    return Malformed(absl::StrCat("accepted_counts, seeds and streams have ",
                                  response.accepted_counts_size(), ", ", response.seeds_size(),
                                  " and ", response.streams_size(), " entries for ",
                                  Counted(count, "sequence")));
  }
  const int skipped = response.skipped_ids_size();
  if (skipped != 0 && static_cast<size_t>(skipped) != count) {
    return Malformed(absl::StrCat("skipped_ids has ", Counted(skipped, "entry", "entries"), " for ",
                                  Counted(count, "sequence")));
  }
  VerifyDraftResult result;
  result.spec_version = response.spec_version();
  result.sequences.resize(count);
  for (size_t s = 0; s < count; ++s) {
    const auto i = static_cast<int>(s);
    result.sequences[s].seed = response.seeds(i);
    result.sequences[s].stream = response.streams(i);
    if (i < skipped) result.sequences[s].skipped_ids = response.skipped_ids(i);
  }
  for (const v1::RowStatus& status : response.sequence_statuses()) {
    if (status.row() >= count) {
      return Malformed(
          absl::StrCat("sequence_statuses names sequence ", status.row(), " of ", count));
    }
    DraftResult& sequence = result.sequences[status.row()];
    sequence.code = FromWire(status.code());
    sequence.message = status.message();
  }
  RETURN_IF_ERROR(DecodeTokens(response, HasTrees(sequences), result.sequences));
  return result;
}

}  // namespace token_sampler::client
