// The CUDA sampler behind C functions, for bench.py to call through ctypes: its kernel alone on a
// stream of the caller's, and the whole of it.

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cuda/cuda_sampler.h"
#include "cuda/kernel/sample_rows.h"
#include "cuda/launch/cuda_handles.h"
#include "cuda/plan/job_plan.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/rows/row_source.h"

namespace {

using token_sampler::RowInput;
using token_sampler::RowResult;
using token_sampler::cuda::JobStatus;
using token_sampler::cuda::RowJob;
using token_sampler::cuda::TokenEdit;

// All rows of a launch; nothing reads them through it.
class DeviceRows final : public token_sampler::RowSource {
 public:
  explicit DeviceRows(const void* rows) : place_{.address = static_cast<const char*>(rows)} {}
  const token_sampler::DeviceMemory* device_memory() const override { return &place_; }
  absl::Status Read(uint64_t, size_t, char*) const override {
    return absl::UnimplementedError("rows of the benchmark stay on the device");
  }

 private:
  const token_sampler::DeviceMemory place_;
};

struct Plan {
  explicit Plan(const void* rows) : source(rows) {}

  token_sampler::SamplingParams params;
  std::vector<uint32_t> output_ids;
  token_sampler::RowHistory history;
  std::vector<uint8_t> bitmasks;
  DeviceRows source;
  std::vector<RowInput> inputs;
  token_sampler::cuda::LaunchShape shape;
  token_sampler::cuda::DeviceArray<uint32_t> masks;
  token_sampler::cuda::DeviceArray<TokenEdit> edits;
  token_sampler::cuda::DeviceArray<RowJob> jobs;
  token_sampler::cuda::DeviceArray<uint32_t> tokens;
  token_sampler::cuda::DeviceArray<JobStatus> statuses;
};

bool Succeeds(const absl::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok();
}

bool Succeeds(cudaError_t error, const char* call) {
  return Succeeds(token_sampler::cuda::ToStatus(error, call));
}

// Waits until the copy is done: for pageable memory, cudaMemcpy may return earlier.
template <typename T>
bool CopyToDevice(const std::vector<T>& values, token_sampler::cuda::DeviceArray<T>& array) {
  // There may be none.
  return Succeeds(token_sampler::cuda::Allocate(std::max<size_t>(values.size(), 1), array)) &&
         (values.empty() || Succeeds(cudaMemcpy(array.get(), values.data(),
                                                values.size() * sizeof(T), cudaMemcpyHostToDevice),
                                     "cudaMemcpy")) &&
         Succeeds(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

absl::StatusOr<token_sampler::cuda::DeviceTraits> Prepare() {
  token_sampler::cuda::DeviceTraits traits = {};
  absl::Status status = token_sampler::cuda::ToStatus(
      token_sampler::cuda::PrepareSampleRows(traits), "asking what the device can do");
  if (!status.ok()) return status;
  return traits;
}

token_sampler::Sampler* TheSampler() {
  static token_sampler::Sampler* const sampler = []() -> token_sampler::Sampler* {
    auto made = token_sampler::CreateCudaSampler();
    return Succeeds(made.status()) ? made->release() : nullptr;
  }();
  return sampler;
}

token_sampler::Sampler* TheCpuSampler() {
  static token_sampler::Sampler* const sampler = []() -> token_sampler::Sampler* {
    auto made = token_sampler::CreateCpuSampler({});
    return Succeeds(made.status()) ? made->release() : nullptr;
  }();
  return sampler;
}

// Made once; null, the default stream, when it cannot be.
cudaStream_t SharedStream() {
  static const token_sampler::cuda::Stream stream = [] {
    token_sampler::cuda::Stream made;
    Succeeds(token_sampler::cuda::Create(made));
    return made;
  }();
  return stream.get();
}

double MedianOfCalls(token_sampler::Sampler& sampler, const std::vector<RowInput>& inputs,
                     int calls) {
  std::vector<RowResult> results(inputs.size());
  std::vector<double> times;
  for (int i = 0; i < calls; ++i) {
    const auto began = std::chrono::steady_clock::now();
    if (!Succeeds(sampler.Sample(inputs, absl::MakeSpan(results)))) return -1.0;
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - began;
    times.push_back(took.count());
  }
  std::nth_element(times.begin(), times.begin() + calls / 2, times.end());
  return times[static_cast<size_t>(calls / 2)];
}

}  // namespace

extern "C" {

// A case of the benchmark; the same struct is in bench.py.
struct TokenSamplerGpuCase {
  double temperature;
  double top_p;
  double min_p;
  double repetition;
  double frequency;
  double presence;
  uint32_t top_k;
  uint32_t dtype;  // the number of a DataType
};

// A launch over rows[count, vocab] on device 0, row r with seed + r; null on failure. The rows must
// outlive it. `bitmasks`, on the host, is [count, ceil(vocab / 32)] words of a bit per token, 1 =
// allowed; null: all are.
void* TokenSamplerGpuPlan(const TokenSamplerGpuCase* gpu_case, const void* rows,
                          const uint8_t* bitmasks, int64_t count, int64_t vocab, uint64_t seed) {
  const auto traits = Prepare();
  if (!Succeeds(traits.status())) return nullptr;
  auto plan = std::make_unique<Plan>(rows);
  plan->params = {.temperature = gpu_case->temperature,
                  .top_k = gpu_case->top_k,
                  .top_p = gpu_case->top_p,
                  .min_p = gpu_case->min_p,
                  .repetition_penalty = gpu_case->repetition,
                  .frequency_penalty = gpu_case->frequency,
                  .presence_penalty = gpu_case->presence};
  // The tokens of bench.py's HISTORY.
  for (uint32_t i = 0; i < 256; ++i) {
    plan->output_ids.push_back(i * 37 % 13'795 % static_cast<uint32_t>(vocab));
  }
  plan->history.output_ids = plan->output_ids;
  const int64_t mask_bytes = (vocab + 31) / 32 * 4;
  if (bitmasks != nullptr) plan->bitmasks.assign(bitmasks, bitmasks + count * mask_bytes);
  token_sampler::cuda::EditLister lister;
  std::vector<uint32_t> masks;
  std::vector<TokenEdit> edits;
  std::vector<RowJob> jobs;
  for (int64_t row = 0; row < count; ++row) {
    RowInput input;
    input.source = &plan->source;
    input.dtype = static_cast<token_sampler::DataType>(gpu_case->dtype);
    input.vocab = vocab;
    input.source_offset = static_cast<uint64_t>(row) * token_sampler::ValueBytes(input);
    input.params = &plan->params;
    input.history = &plan->history;
    if (bitmasks != nullptr) input.bitmask = plan->bitmasks.data() + row * mask_bytes;
    input.key.seed = seed + static_cast<uint64_t>(row);
    plan->inputs.push_back(input);
    jobs.push_back(token_sampler::cuda::PlanJob(input));
    jobs.back().values = static_cast<const char*>(rows) + input.source_offset;
    jobs.back().first_token = static_cast<uint32_t>(row);
    const std::vector<TokenEdit>& of_row = lister.List(input);
    jobs.back().num_edits = static_cast<uint32_t>(of_row.size());
    edits.insert(edits.end(), of_row.begin(), of_row.end());
    const size_t words = token_sampler::cuda::MaskWords(input);
    masks.resize(masks.size() + words);
    if (words > 0) token_sampler::cuda::WriteMask(input, &masks[masks.size() - words]);
  }
  if (!CopyToDevice(edits, plan->edits) || !CopyToDevice(masks, plan->masks)) return nullptr;
  const TokenEdit* next_edit = plan->edits.get();
  const uint32_t* next_mask = plan->masks.get();
  for (RowJob& job : jobs) {
    job.edits = next_edit;
    next_edit += job.num_edits;
    if (masks.empty()) continue;
    job.mask = next_mask;
    next_mask += masks.size() / jobs.size();
  }
  plan->shape = token_sampler::cuda::ChooseShape(*traits, static_cast<uint32_t>(count),
                                                 static_cast<uint32_t>(vocab));
  const std::vector<uint32_t> unset(jobs.size(), ~0u);  // no token, should the kernel not run
  const bool ready = CopyToDevice(jobs, plan->jobs) && CopyToDevice(unset, plan->tokens) &&
                     Succeeds(token_sampler::cuda::Allocate(jobs.size(), plan->statuses));
  return ready ? plan.release() : nullptr;
}

void TokenSamplerGpuFree(void* handle) { delete static_cast<Plan*>(handle); }

// Queues the kernel on a stream; null: one that all plans share.
bool TokenSamplerGpuLaunch(void* handle, void* stream) {
  const Plan& plan = *static_cast<Plan*>(handle);
  cudaStream_t const on = stream == nullptr ? SharedStream() : static_cast<cudaStream_t>(stream);
  return Succeeds(token_sampler::cuda::LaunchSampleRows(
                      plan.jobs.get(), static_cast<uint32_t>(plan.inputs.size()), plan.shape,
                      plan.tokens.get(), plan.statuses.get(), on),
                  "launch of SampleRows");
}

// Waits for the kernel. Returns true if it and the whole sampler gave every row the same token.
bool TokenSamplerGpuAgree(void* handle) {
  const Plan& plan = *static_cast<Plan*>(handle);
  const size_t count = plan.inputs.size();
  std::vector<uint32_t> tokens(count);
  if (TheSampler() == nullptr || !Succeeds(cudaDeviceSynchronize(), "cudaDeviceSynchronize") ||
      !Succeeds(cudaMemcpy(tokens.data(), plan.tokens.get(), count * sizeof(uint32_t),
                           cudaMemcpyDeviceToHost),
                "cudaMemcpy")) {
    return false;
  }
  std::vector<RowResult> results(count);
  if (!Succeeds(TheSampler()->Sample(plan.inputs, absl::MakeSpan(results)))) return false;
  for (size_t i = 0; i < count; ++i) {
    if (results[i].token_ids != std::vector<uint32_t>{tokens[i]}) return false;
  }
  return true;
}

// Median microseconds of whole calls of the sampler, from the host and back; negative on failure.
double TokenSamplerGpuEndToEnd(void* handle, int calls) {
  const Plan& plan = *static_cast<Plan*>(handle);
  return TheSampler() == nullptr ? -1.0 : MedianOfCalls(*TheSampler(), plan.inputs, calls);
}

// The same with the rows sent from the host's memory, where `rows` has the plan's values; or on the
// CPU sampler.
double TokenSamplerGpuFromHost(void* handle, const void* rows, bool on_cpu, int calls) {
  std::vector<RowInput> inputs = static_cast<Plan*>(handle)->inputs;
  for (RowInput& input : inputs) {
    input.source = nullptr;
    input.values = static_cast<const char*>(rows) + input.source_offset;
  }
  token_sampler::Sampler* const sampler = on_cpu ? TheCpuSampler() : TheSampler();
  return sampler == nullptr ? -1.0 : MedianOfCalls(*sampler, inputs, calls);
}

}  // extern "C"
