// A CUDA region without a device: the values are in this process.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_FAKE_CUDA_REGION_H_
#define TOKEN_SAMPLER_TESTS_TESTING_FAKE_CUDA_REGION_H_

#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/regions/region.h"

namespace token_sampler {

class FakeCudaRegion final : public Region {
 public:
  explicit FakeCudaRegion(std::vector<float> values)
      : Region(values.size() * sizeof(float)), values_(std::move(values)) {}

  absl::Status Copy(uint64_t offset, size_t size, char* to) const override {
    std::memcpy(to, reinterpret_cast<const char*>(values_.data()) + offset, size);
    return absl::OkStatus();
  }

 private:
  const std::vector<float> values_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_TESTING_FAKE_CUDA_REGION_H_
