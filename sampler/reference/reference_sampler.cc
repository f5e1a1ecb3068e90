#include "sampler/reference/reference_sampler.h"

#include "sampler/reference/pipeline.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/row_source.h"
#include "sampler/rows/row_values.h"

namespace token_sampler {
namespace {

class ReferenceSampler final : public Sampler {
 public:
  absl::string_view name() const override { return "reference"; }
  std::string device() const override { return "one thread, scalar"; }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    LargeVector<char> values;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto sample = [&] {
        const LoadedRow row(rows[i], values, results[i]);
        if (row.get() != nullptr) SampleRowByPipeline(*row.get(), results[i]);
      };
      RunPaced(sample, [&] { FailInterrupted(results[i]); });
    }
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Sampler> CreateReferenceSampler() { return std::make_unique<ReferenceSampler>(); }

}  // namespace token_sampler
