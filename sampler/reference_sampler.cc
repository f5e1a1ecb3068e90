#include "sampler/reference_sampler.h"

#include "sampler/pipeline.h"

namespace token_sampler {
namespace {

class ReferenceSampler final : public Sampler {
 public:
  absl::string_view name() const override { return "reference"; }
  std::string device() const override { return "one thread, scalar"; }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    for (size_t i = 0; i < rows.size(); ++i) SampleRowByPipeline(rows[i], results[i]);
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Sampler> CreateReferenceSampler() { return std::make_unique<ReferenceSampler>(); }

}  // namespace token_sampler
