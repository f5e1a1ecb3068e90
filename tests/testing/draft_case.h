// One sequence's draft with all that it points to, for tests of VerifyDrafts.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_DRAFT_CASE_H_
#define TOKEN_SAMPLER_TESTS_TESTING_DRAFT_CASE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "sampler/verify_draft.h"

namespace token_sampler::testing {

struct DraftCase {
  InputKind kind = InputKind::kLogits;
  std::vector<std::vector<float>> target = {};  // [nodes + 1][vocab]
  InputKind draft_kind = InputKind::kLogits;
  std::vector<std::vector<float>> draft = {};  // [nodes][vocab], or empty
  std::vector<uint32_t> token_ids = {};
  std::vector<int32_t> parents = {};
  SamplingParams params = {};
  RowKey key = {};
  RowHistory history = {};
  std::vector<std::vector<uint8_t>> bitmasks = {};  // [nodes + 1], or empty
};

// A DraftInput that points into the case, which must not change while it is in use.
class DraftView {
 public:
  explicit DraftView(const DraftCase& draft)
      : target_(Rows(draft.target, draft.kind)), draft_(Rows(draft.draft, draft.draft_kind)) {
    for (size_t i = 0; i < draft.bitmasks.size(); ++i) {
      target_[i].bitmask = draft.bitmasks[i].data();
    }
    EXPECT_TRUE(ValidateParams(draft.params, draft.kind, target_[0].vocab, {}).ok());
    EXPECT_TRUE(ValidateDraftParams(draft.params, {}).ok());
    input_.target = target_;
    input_.draft = draft_;
    input_.token_ids = draft.token_ids;
    input_.parents = draft.parents;
    input_.params = &draft.params;
    input_.key = draft.key;
    input_.history = &draft.history;
  }

  const DraftInput& input() const { return input_; }

 private:
  static std::vector<RowInput> Rows(const std::vector<std::vector<float>>& matrix, InputKind kind) {
    std::vector<RowInput> rows;
    for (const std::vector<float>& values : matrix) {
      RowInput& row = rows.emplace_back();
      row.values = values.data();
      row.kind = kind;
      row.vocab = static_cast<int64_t>(values.size());
    }
    return rows;
  }

  std::vector<RowInput> target_;
  std::vector<RowInput> draft_;
  DraftInput input_;
};

inline std::vector<DraftResult> VerifyAll(const std::vector<const DraftCase*>& drafts,
                                          Sampler* sampler = nullptr) {
  std::vector<std::unique_ptr<DraftView>> views;
  std::vector<DraftInput> inputs;
  for (const DraftCase* draft : drafts) {
    views.push_back(std::make_unique<DraftView>(*draft));
    inputs.push_back(views.back()->input());
  }
  const std::unique_ptr<Sampler> reference = CreateReferenceSampler();
  if (sampler == nullptr) sampler = reference.get();
  std::vector<DraftResult> results(inputs.size());
  EXPECT_TRUE(VerifyDrafts(*sampler, inputs, absl::MakeSpan(results)).ok());
  return results;
}

inline DraftResult Verify(const DraftCase& draft, Sampler* sampler = nullptr) {
  return VerifyAll({&draft}, sampler)[0];
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_DRAFT_CASE_H_
