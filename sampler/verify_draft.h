// Speculative decoding: decides which drafted tokens of a sequence the target model accepts, and
// draws the token after them. The tokens have the target's distribution, whatever was drafted:
// SPEC.md §10.

#ifndef TOKEN_SAMPLER_SAMPLER_VERIFY_DRAFT_H_
#define TOKEN_SAMPLER_SAMPLER_VERIFY_DRAFT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"

namespace token_sampler {

// One sequence. The drafted tokens are the nodes of a tree whose root is the position before the
// first of them. Nothing is owned; everything must outlive the call.
//
// VerifyDrafts reads only the values, dtype, kind and vocab of each row, and also the bitmask and
// the pace of `target` rows. All rows of a sequence must have the same vocab; all rows of `target`,
// and all of `draft`, must have the same kind.
struct DraftInput {
  absl::Span<const RowInput> target;       // [nodes + 1]: the root's row, then one per node
  absl::Span<const RowInput> draft = {};   // [nodes]: the row from which each token was drawn; or
                                           // empty: tokens were chosen without chance
  absl::Span<const uint32_t> token_ids;    // [nodes], each below vocab; nodes <= kMaxDraws
  absl::Span<const int32_t> parents = {};  // [nodes], -1 (the root) .. own index - 1; or empty: a
                                           // chain, where the parent of a node is the one before it
  const SamplingParams* params = nullptr;  // passed ValidateParams and ValidateDraftParams
  RowKey key = {};                         // with the step of the first drafted token
  const RowHistory* history = nullptr;     // up to the first drafted token; null: empty
};

// The result of one sequence.
struct DraftResult {
  RowCode code = RowCode::kOk;           // the first code of its rows that is not OK; if a row
                                         // failed, that row's code
  std::string message;                   // empty when OK; else names the row and what is wrong
  std::vector<uint32_t> accepted_nodes;  // a path from the root
  std::vector<uint32_t> token_ids;       // those of the path, then one more; empty if the sequence
                                         // failed

  // Resets to the initial state; keeps what the vectors have allocated.
  void Clear();
};

// InvalidArgument, which names the field, if the parameters do not suit a draft: they ask for
// several samples, or a stage carries state from step to step.
absl::Status ValidateDraftParams(const SamplingParams& params, const ParamsLocation& location);

// Verifies drafts[i] into results[i]; the spans have the same length. `sampler` samples the rows;
// it must support OutputOptions::weights. Each of its calls gets the next row of every unfinished
// sequence; rows on which no decision depends are not read. If a row cannot be sampled, its
// sequence reports that in its result, and the others are not affected. An error concerns the whole
// call: the results are then invalid.
absl::Status VerifyDrafts(Sampler& sampler, absl::Span<const DraftInput> drafts,
                          absl::Span<DraftResult> results);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_VERIFY_DRAFT_H_
