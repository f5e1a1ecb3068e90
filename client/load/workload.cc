#include "client/load/workload.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

// SplitMix64 (Steele et al., 2014).
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// The sum of four uniform 6-bit numbers, centred: a multiple of 1/16 in [-7.875, 7.875].
float NearNormal(uint64_t random) {
  int sum = -126;
  for (int i = 0; i < 4; ++i) sum += static_cast<int>((random >> (6 * i)) & 63);
  return static_cast<float>(sum) / 16.0f;
}

// The binary16 of a float32 that is 0 or a normal number which binary16 holds exactly.
uint16_t ExactFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value == 0.0f) return 0;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t exponent = ((bits >> 23) & 0xffu) - 112;
  return static_cast<uint16_t>(sign | (exponent << 10) | ((bits >> 13) & 0x3ffu));
}

template <typename Element>
void Store(Element element, size_t index, std::vector<uint8_t>& bytes) {
  std::memcpy(bytes.data() + index * sizeof(element), &element, sizeof(element));
}

}  // namespace

std::vector<uint8_t> GenerateLogits(DataType dtype, int64_t count, uint64_t seed) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count) * ElementSize(dtype));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const float value = NearNormal(NextRandom(seed));
    switch (dtype) {
      case DataType::kFloat32:
        Store(value, i, bytes);
        break;
      case DataType::kFloat64:
        Store(double{value}, i, bytes);
        break;
      case DataType::kFloat16:
        Store(ExactFloat16(value), i, bytes);
        break;
      case DataType::kBFloat16:
        Store(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16), i, bytes);
        break;
    }
  }
  return bytes;
}

absl::StatusOr<size_t> Workload::ByteSize(const WorkloadOptions& options) {
  // Check first: the values of a request that cannot be sent would take memory in vain.
  const double bytes = static_cast<double>(options.rows) * static_cast<double>(options.vocab) *
                       static_cast<double>(ElementSize(options.dtype));
  if (bytes > INT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--rows ", options.rows, " x --vocab ", options.vocab, " x ", ElementSize(options.dtype),
        " bytes must be at most ", INT32_MAX, " bytes, which is what gRPC can send"));
  }
  return kRequests * static_cast<size_t>(options.rows * options.vocab) * ElementSize(options.dtype);
}

absl::StatusOr<Workload> Workload::Create(const WorkloadOptions& options) {
  RETURN_IF_ERROR(ByteSize(options).status());
  Workload workload;
  for (size_t i = 0; i < kRequests; ++i) {
    auto values = std::make_shared<std::vector<uint8_t>>(
        GenerateLogits(options.dtype, options.rows * options.vocab, options.seed + i));
    SampleRequest request;
    if (options.region != nullptr) {
      const size_t offset = i * values->size();
      std::memcpy(static_cast<char*>(options.region->data()) + offset, values->data(),
                  values->size());
      request.matrix = options.region->Rows(offset, options.dtype, options.rows, options.vocab);
    } else {
      request.matrix.values = values->data();
      request.matrix.byte_size = values->size();
      request.matrix.dtype = options.dtype;
      request.matrix.rows = options.rows;
      request.matrix.vocab = options.vocab;
      request.matrix.owner = values;
    }
    request.params = {options.params};
    request.keys.seeds = {options.seed + i};
    if (options.history) {
      request.histories.assign(static_cast<size_t>(options.rows), *options.history);
    }
    request.skip_unknown_ids = options.skip_unknown_ids;
    request.outputs = options.outputs;
    ASSIGN_OR_RETURN(EncodedRequest encoded, EncodedRequest::Create(request));
    workload.requests_.push_back(std::move(encoded));
  }
  return workload;
}

}  // namespace token_sampler::client
