#include "server/codec/verify_draft_codec.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/wire_enums.h"

namespace token_sampler {
namespace {

// The index of a sequence's first node among all nodes, and the number of its nodes.
struct NodeRange {
  size_t first;
  size_t count;
};

// Checks the numbers of rows and entries, and makes the nodes of each sequence.
absl::StatusOr<std::vector<NodeRange>> DecodeShape(const v1::VerifyDraftRequest& request) {
  const auto& lengths = request.draft_lengths();
  if (lengths.empty()) return Invalid("draft_lengths must have an entry per sequence, got none");
  const uint64_t nodes = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  const auto sequences = static_cast<uint64_t>(lengths.size());
  if (nodes > kMaxDraws) {
    return Invalid("draft_lengths must sum up to at most ", kMaxDraws, ", got ", nodes);
  }
  if (request.target().rows() != nodes + sequences) {
    return Invalid("target.rows must be ", nodes + sequences, ", one per drafted token (", nodes,
                   ") and one per sequence (", sequences, "), got ", request.target().rows());
  }
  if (static_cast<uint64_t>(request.draft_token_ids_size()) != nodes) {
    return Invalid("draft_token_ids must have as many entries as draft_lengths sum up to, ", nodes,
                   ", got ", request.draft_token_ids_size());
  }
  if (!request.parents().empty() && static_cast<uint64_t>(request.parents_size()) != nodes) {
    return Invalid("parents must have one entry per drafted token (", nodes, ") or none, got ",
                   request.parents_size());
  }
  if (request.has_draft() && request.draft().rows() != nodes) {
    return Invalid("draft.rows must be one per drafted token (", nodes, "), got ",
                   request.draft().rows());
  }
  if (request.has_draft_kind() && !request.has_draft()) {
    return Invalid("draft_kind must not be set without draft");
  }
  std::vector<NodeRange> ranges;
  size_t first = 0;
  for (const uint32_t length : lengths) {
    ranges.push_back({first, length});
    first += length;
  }
  return ranges;
}

absl::Status CheckNodes(const v1::VerifyDraftRequest& request,
                        const std::vector<NodeRange>& ranges) {
  const uint32_t vocab = request.target().vocab();
  for (int i = 0; i < request.draft_token_ids_size(); ++i) {
    if (request.draft_token_ids(i) < vocab) continue;
    return Invalid("draft_token_ids[", i, "] must be below the vocabulary of ", vocab, ", got ",
                   request.draft_token_ids(i));
  }
  if (request.parents().empty()) return absl::OkStatus();
  for (const NodeRange& range : ranges) {
    for (size_t node = 0; node < range.count; ++node) {
      const size_t i = range.first + node;
      const int32_t parent = request.parents(static_cast<int>(i));
      if (parent >= -1 && parent < static_cast<int64_t>(node)) continue;
      return Invalid("parents[", i, "] must be -1 or a node of its sequence before node ", node,
                     ", got ", parent);
    }
  }
  return absl::OkStatus();
}

// Decodes the target's rows, then the draft's.
absl::Status DecodeRows(const v1::VerifyDraftRequest& request, const CallContext& context,
                        DecodedDrafts& decoded) {
  const InputKind kind = DecodeKind(request.input_kind());
  ASSIGN_OR_RETURN(TensorRows target, DecodeTensor(request.target(), "target", kind, context));
  decoded.target_rows = std::move(target.region);
  std::vector<RowInput>& rows = decoded.rows = std::move(target.rows);
  if (request.has_bitmask()) RETURN_IF_ERROR(DecodeBitmask(request.bitmask(), rows));
  if (!request.has_draft()) return absl::OkStatus();
  const InputKind draft_kind = request.has_draft_kind() ? DecodeKind(request.draft_kind()) : kind;
  ASSIGN_OR_RETURN(TensorRows draft, DecodeTensor(request.draft(), "draft", draft_kind, context));
  decoded.draft_rows = std::move(draft.region);
  if (request.draft().vocab() != request.target().vocab()) {
    return Invalid("draft.vocab must be that of target, ", request.target().vocab(), ", got ",
                   request.draft().vocab());
  }
  rows.insert(rows.end(), draft.rows.begin(), draft.rows.end());
  return absl::OkStatus();
}

absl::Status CheckHistorySize(const std::vector<NodeRange>& ranges,
                              const std::vector<RowHistory>& histories) {
  uint64_t tokens = 0;
  for (size_t s = 0; s < histories.size(); ++s) {
    const RowHistory& history = histories[s];
    tokens += (ranges[s].count + 1) * (history.prompt_ids.size() + history.output_ids.size() +
                                       history.prompt_set.size() + history.output_counts.size());
  }
  if (tokens <= kMaxHistoryTokens) return absl::OkStatus();
  return Invalid("histories must have at most ", kMaxHistoryTokens,
                 " tokens, each counted for every row of its sequence, got ", tokens);
}

// Checks that the parameters fit the target's and the draft's rows.
absl::Status CheckProfile(const SamplingParams& params, uint32_t index,
                          const std::vector<RowInput>& rows) {
  const std::string profile = absl::StrCat("params[", index, "]");
  const ParamsLocation location = {.profile = profile};
  RETURN_IF_ERROR(ValidateDraftParams(params, location));
  const RowInput& target = rows.front();
  RETURN_IF_ERROR(ValidateParams(params, target.kind, target.vocab, location));
  const RowInput& last = rows.back();  // of the draft, if there is one
  if (last.kind == target.kind || last.kind == InputKind::kWeights) return absl::OkStatus();
  return ValidateParams(params, last.kind, last.vocab, location);
}

}  // namespace

uint64_t DraftAnswerBytes(const DecodedDrafts& decoded) {
  constexpr uint64_t kSequenceBytes = 1024;
  constexpr uint64_t kNodeBytes = 64;  // an id and a node, in the result and in the answer
  return decoded.keys.size() * kSequenceBytes + decoded.rows.size() * kNodeBytes;
}

uint64_t DraftWorkBytes(const DecodedDrafts& decoded) {
  // An id and a weight for each token of a target's and a draft's row, in arrays that double, and
  // their copies. Sequences are verified in groups of about kMaxValuesAtOnce values.
  constexpr uint64_t kTokenBytes = 48;
  constexpr uint64_t kMaxValuesAtOnce = uint64_t{1} << 24;
  constexpr uint64_t kNodeBytes = 64;
  uint64_t nodes = 0;
  uint64_t values = 0;
  uint64_t history = 0;
  for (const DraftInput& input : decoded.inputs) {
    nodes += input.target.size();
    if (!input.draft.empty()) values += static_cast<uint64_t>(input.target[0].vocab);
    // Each sequence extends its own copy of the history.
    if (input.history != nullptr) {
      history += input.history->prompt_ids.size() + input.history->output_ids.size() +
                 input.history->prompt_set.size() + 2 * input.history->output_counts.size();
    }
  }
  const auto longest = static_cast<uint64_t>(
      decoded.inputs.empty() ? 0 : decoded.inputs.front().target.front().vocab);
  return std::min(values, kMaxValuesAtOnce + longest) * kTokenBytes + nodes * kNodeBytes +
         history * 2 * sizeof(uint32_t);
}

absl::Status DecodeVerifyDraft(const v1::VerifyDraftRequest& request, const CallContext& context,
                               DecodedDrafts& decoded) {
  if (!request.has_target()) return Invalid("target must be set");
  ASSIGN_OR_RETURN(const std::vector<NodeRange> ranges, DecodeShape(request));
  RETURN_IF_ERROR(CheckNodes(request, ranges));
  RETURN_IF_ERROR(DecodeRows(request, context, decoded));
  const Units units = {"sequence", ranges.size()};
  const Profiles& profiles = decoded.profiles;
  ASSIGN_OR_RETURN(decoded.profiles, DecodeProfiles(request.params(), request.sequence_params(),
                                                    "sequence_params", units));
  ASSIGN_OR_RETURN(decoded.keys, DecodeKeys(request.keys(), units));
  const v1::Histories* histories = request.has_histories() ? &request.histories() : nullptr;
  if (histories != nullptr) {
    ASSIGN_OR_RETURN(decoded.histories,
                     DecodeHistories(*histories, units, decoded.rows.front().vocab));
    RETURN_IF_ERROR(CheckHistorySize(ranges, decoded.histories.of_unit));
  }
  decoded.sequence_errors = CheckProfiles(profiles, units, [&](uint32_t index) {
    return CheckProfile(profiles.params[index], index, decoded.rows);
  });

  const absl::Span<const uint32_t> token_ids = request.draft_token_ids();
  const absl::Span<const int32_t> parents = request.parents();
  const size_t nodes = token_ids.size();
  const auto target = absl::MakeConstSpan(decoded.rows).first(nodes + ranges.size());
  const auto draft = absl::MakeConstSpan(decoded.rows).subspan(target.size());
  decoded.trees = !parents.empty();
  for (size_t s = 0; s < ranges.size(); ++s) {
    if (decoded.HasError(s)) continue;
    const uint32_t index = profiles.of_unit[s];
    const absl::Status status =
        CheckHistorySent(profiles.params[index], index, decoded.keys[s].step, histories);
    if (!status.ok()) {
      decoded.sequence_errors.resize(ranges.size());
      decoded.sequence_errors[s] = absl::StrCat("sequence ", s, ": ", status.message());
      continue;
    }
    const auto& [first, count] = ranges[s];
    DraftInput& input = decoded.inputs.emplace_back();
    input.target = target.subspan(first + s, count + 1);
    if (!draft.empty()) input.draft = draft.subspan(first, count);
    input.token_ids = token_ids.subspan(first, count);
    if (!parents.empty()) input.parents = parents.subspan(first, count);
    input.params = &profiles.params[index];
    input.key = decoded.keys[s];
    if (histories != nullptr) input.history = &decoded.histories.of_unit[s];
  }
  if (decoded.inputs.empty()) return absl::InvalidArgumentError(decoded.sequence_errors.front());
  return absl::OkStatus();
}

void EncodeVerifyDraft(const DecodedDrafts& decoded, absl::Span<const DraftResult> results,
                       v1::VerifyDraftResponse& response) {
  response.set_spec_version(kSpecVersion);
  const std::vector<uint32_t>& skipped_ids = decoded.histories.skipped_ids;
  response.mutable_skipped_ids()->Add(skipped_ids.begin(), skipped_ids.end());
  const DraftResult* result = results.data();
  for (uint32_t s = 0; s < decoded.keys.size(); ++s) {
    response.add_seeds(decoded.keys[s].seed);
    response.add_streams(decoded.keys[s].stream);
    const bool verified = !decoded.HasError(s);
    const RowCode code = verified ? result->code : RowCode::kInvalidParams;
    if (code != RowCode::kOk) {
      v1::RowStatus& status = *response.add_sequence_statuses();
      status.set_row(s);
      status.set_code(ToWire(code));
      status.set_message(verified ? result->message : decoded.sequence_errors[s]);
    }
    if (!verified) {
      response.add_accepted_counts(0);
      continue;
    }
    response.add_accepted_counts(static_cast<uint32_t>(result->accepted_nodes.size()));
    response.mutable_token_ids()->Add(result->token_ids.begin(), result->token_ids.end());
    if (decoded.trees) {
      response.mutable_accepted_nodes()->Add(result->accepted_nodes.begin(),
                                             result->accepted_nodes.end());
    }
    ++result;
  }
}

}  // namespace token_sampler
