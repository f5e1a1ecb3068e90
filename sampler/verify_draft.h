// Speculative decoding: which drafted tokens of a sequence the target model accepts, and the one
// token behind them. The tokens have the target's distribution, whatever was drafted: SPEC.md §10.

#ifndef TOKEN_SAMPLER_SAMPLER_VERIFY_DRAFT_H_
#define TOKEN_SAMPLER_SAMPLER_VERIFY_DRAFT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"

namespace token_sampler {

// One sequence. The drafted tokens are the nodes of a tree, whose root is the position before the
// first of them. Nothing is owned; all of it must outlive the call.
//
// Reads values, dtype, kind and vocab of a row and, in `target`, bitmask and pace. All rows
// of a sequence have the same vocab, those of `target` and those of `draft` each the same kind.
struct DraftInput {
  absl::Span<const RowInput> target;       // [nodes + 1]: the root's row, then one per node
  absl::Span<const RowInput> draft = {};   // [nodes]: what each token was drawn from; or empty:
                                           // tokens were chosen without chance
  absl::Span<const uint32_t> token_ids;    // [nodes], each below vocab; nodes <= kMaxDraws
  absl::Span<const int32_t> parents = {};  // [nodes], -1 (the root) .. own index - 1; or empty:
                                           // a chain, where each node's parent is that before it
  const SamplingParams* params = nullptr;  // passed ValidateParams and ValidateDraftParams
  RowKey key = {};                         // its step is that of the first drafted token
  const RowHistory* history = nullptr;     // before the first drafted token; null: empty
};

// One sequence's outcome.
struct DraftResult {
  RowCode code = RowCode::kOk;           // the first of its rows' that is not OK
  std::string message;                   // empty when OK; else names the row and what is wrong
  std::vector<uint32_t> accepted_nodes;  // a path from the root
  std::vector<uint32_t> token_ids;       // those of the path, then one more; empty if it failed

  // Back to the initial state; keeps what the vectors have allocated.
  void Clear();
};

// InvalidArgument that names the field when parameters do not fit a draft: several samples, or
// stages that carry a state from step to step.
absl::Status ValidateDraftParams(const SamplingParams& params, const ParamsLocation& location);

// Verifies drafts[i] into results[i]; the spans have the same length. A sequence one of whose rows
// cannot be sampled says so in its result and leaves the others untouched; rows that the decisions
// do not reach are not looked at. `sampler` samples the rows, at each turn one of every sequence
// that is not at its end; it must offer OutputOptions::weights. An error is that of the whole call,
// and then the results mean nothing.
absl::Status VerifyDrafts(Sampler& sampler, absl::Span<const DraftInput> drafts,
                          absl::Span<DraftResult> results);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_VERIFY_DRAFT_H_
