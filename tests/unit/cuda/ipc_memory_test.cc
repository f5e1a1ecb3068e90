// Tests rows in device memory that another process shares, on the emulated runtime: they are
// sampled in place, after the event that they were written, and refused if the handle is invalid.

#include "cuda/memory/ipc_memory.h"

#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cuda/cuda_sampler.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/simt/machine.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;

constexpr size_t kVocab = 700;
constexpr size_t kRows = 5;
constexpr size_t kStride = kVocab + 3;  // in floats, so that no row but the first is aligned
constexpr size_t kBytes = kRows * kStride * sizeof(float);

template <typename Handle>
std::string Bytes(const Handle& handle) {
  return {reinterpret_cast<const char*>(&handle), sizeof(handle)};
}

// The process that owns the logits. It writes them when somebody waits for its event.
class Owner {
 public:
  Owner() : values_(kRows * kStride) {
    for (size_t i = 0; i < values_.size(); ++i) {
      values_[i] = static_cast<float>((i * 2654435761u) % 1000) * 0.01f;
    }
    EXPECT_EQ(cudaMalloc(&memory_, kBytes), cudaSuccess);
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    EXPECT_EQ(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), cudaSuccess);
  }
  ~Owner() {
    EXPECT_EQ(cudaEventDestroy(event_), cudaSuccess);
    EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
    EXPECT_EQ(cudaFree(memory_), cudaSuccess);
  }

  float& Value(size_t row, size_t id) { return values_[row * kStride + id]; }

  void Write() {
    EXPECT_EQ(cudaMemcpyAsync(memory_, values_.data(), kBytes, cudaMemcpyHostToDevice, stream_),
              cudaSuccess);
    EXPECT_EQ(cudaEventRecord(event_, stream_), cudaSuccess);
  }

  std::string Handle() {
    cudaIpcMemHandle_t handle;
    EXPECT_EQ(cudaIpcGetMemHandle(&handle, memory_), cudaSuccess);
    return Bytes(handle);
  }
  std::string EventHandle() {
    cudaIpcEventHandle_t handle;
    EXPECT_EQ(cudaIpcGetEventHandle(&handle, event_), cudaSuccess);
    return Bytes(handle);
  }

  std::vector<RowInput> Rows(const SamplingParams& params) const {
    std::vector<RowInput> rows(kRows);
    for (size_t row = 0; row < kRows; ++row) {
      rows[row].values = &values_[row * kStride];
      rows[row].vocab = kVocab;
      rows[row].params = &params;
      rows[row].key = {.seed = row};
    }
    return rows;
  }

 private:
  std::vector<float> values_;
  float* memory_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

class IpcRows final : public RowSource {
 public:
  explicit IpcRows(const IpcMemory& memory) : memory_(memory) {}

  const DeviceMemory* device_memory() const override { return &memory_.place(); }
  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    return memory_.Read(offset, size, to);
  }

  std::vector<RowInput> At(std::vector<RowInput> rows) const {
    for (size_t row = 0; row < rows.size(); ++row) {
      rows[row].values = nullptr;
      rows[row].source = this;
      rows[row].source_offset = row * kStride * sizeof(float);
    }
    return rows;
  }

 private:
  const IpcMemory& memory_;
};

// Rows that their owner changes after the kernel and before the CPU reads them.
class ChangedRows final : public RowSource {
 public:
  ChangedRows(const IpcMemory& memory, const char* later) : memory_(memory), later_(later) {}

  const DeviceMemory* device_memory() const override { return &memory_.place(); }
  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    std::memcpy(to, later_ + offset, size);
    return absl::OkStatus();
  }

 private:
  const IpcMemory& memory_;
  const char* const later_;
};

class IpcMemoryTest : public ::testing::Test {
 protected:
  IpcMemoryTest() { simt::ResetMachine(); }
  ~IpcMemoryTest() override {
    simt::ResetMachine();
    EXPECT_EQ(simt::LiveObjects(), 0u);
  }

  static void ExpectSameAsReference(Sampler& sampler, const Owner& owner, const IpcMemory& memory,
                                    const SamplingParams& params) {
    const std::vector<RowInput> rows = owner.Rows(params);
    ExpectSameTokens(sampler, rows, IpcRows(memory).At(rows));
  }

  // Expects the same tokens for `rows` and for `there`, the same rows on a device.
  static void ExpectSameTokens(Sampler& sampler, const std::vector<RowInput>& rows,
                               const std::vector<RowInput>& there) {
    std::vector<RowResult> expected(rows.size());
    std::vector<RowResult> actual(rows.size());
    ASSERT_TRUE(CreateReferenceSampler()->Sample(rows, absl::MakeSpan(expected)).ok());
    const absl::Status status = sampler.Sample(there, absl::MakeSpan(actual));
    ASSERT_TRUE(status.ok()) << status;
    for (size_t row = 0; row < rows.size(); ++row) {
      EXPECT_EQ(actual[row].code, expected[row].code);
      EXPECT_EQ(actual[row].token_ids, expected[row].token_ids);
    }
  }
};

TEST_F(IpcMemoryTest, RowsAreSampledWhereTheyAre) {
  Owner owner;
  const auto memory = IpcMemory::Open(0, owner.Handle(), owner.EventHandle(), {0, kBytes});
  ASSERT_TRUE(memory.ok()) << memory.status();
  // The buffer is too small for a copy.
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 64}).value();
  for (int step = 0; step < 3; ++step) {
    owner.Value(2, 10) = static_cast<float>(100 * step);
    owner.Write();
    ExpectSameAsReference(*sampler, owner, **memory, {.top_k = 20, .top_p = 0.9});
  }
  EXPECT_EQ(simt::KernelCount(), 3u);
}

TEST_F(IpcMemoryTest, ARangeBeginsAtItsOffset) {
  Owner owner;
  owner.Write();
  // From row 2 on: the sampler and readers see rows 2, 3 and 4.
  constexpr uint64_t kOffset = 2 * kStride * sizeof(float);
  const auto memory =
      IpcMemory::Open(0, owner.Handle(), owner.EventHandle(), {kOffset, kBytes - kOffset});
  ASSERT_TRUE(memory.ok()) << memory.status();
  float value = 0;
  ASSERT_TRUE((*memory)->Read(12, sizeof(value), reinterpret_cast<char*>(&value)).ok());
  EXPECT_EQ(value, owner.Value(2, 3));
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  const SamplingParams params = {.top_k = 20};
  std::vector<RowInput> expected_rows = owner.Rows(params);
  expected_rows.erase(expected_rows.begin(), expected_rows.begin() + 2);
  const IpcRows source(**memory);
  const std::vector<RowInput> rows = source.At(expected_rows);
  std::vector<RowResult> expected(rows.size());
  std::vector<RowResult> actual(rows.size());
  ASSERT_TRUE(CreateReferenceSampler()->Sample(expected_rows, absl::MakeSpan(expected)).ok());
  ASSERT_TRUE(sampler->Sample(rows, absl::MakeSpan(actual)).ok());
  for (size_t row = 0; row < rows.size(); ++row) {
    EXPECT_EQ(actual[row].token_ids, expected[row].token_ids);
  }
  EXPECT_EQ(simt::KernelCount(), 1u);
}

TEST_F(IpcMemoryTest, RowsThatTheKernelLeavesAreReadBehindTheEvent) {
  Owner owner;
  owner.Value(3, 5) = std::nanf("");
  owner.Write();
  const auto memory = IpcMemory::Open(0, owner.Handle(), owner.EventHandle(), {0, kBytes});
  ASSERT_TRUE(memory.ok()) << memory.status();
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  ExpectSameAsReference(*sampler, owner, **memory, {.typical_p = 0.5});
  EXPECT_EQ(simt::KernelCount(), 0u);
  ExpectSameAsReference(*sampler, owner, **memory, {});
}

TEST_F(IpcMemoryTest, ARowThatChangesWhileItIsSampledIsCounted) {
  Owner owner;
  const SamplingParams params;
  owner.Value(0, 5) = std::nanf("");
  owner.Write();
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  owner.Value(0, 5) = 1.0f;
  const auto memory = IpcMemory::Open(0, owner.Handle(), "", {0, kBytes});
  ASSERT_TRUE(memory.ok()) << memory.status();
  const std::vector<RowInput> rows = owner.Rows(params);
  const ChangedRows changed(**memory, static_cast<const char*>(rows[0].values));
  RowInput row = rows[0];
  row.values = nullptr;
  row.source = &changed;
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  ExpectSameTokens(*sampler, {rows[0]}, {row});
  ASSERT_EQ(sampler->fallbacks().size(), 1u);
  EXPECT_EQ(sampler->fallbacks()[0].reason, "values");
}

// One call with rows of each device and of the host. The buffers are too small for copies of the
// devices' rows.
TEST_F(IpcMemoryTest, RowsOfEveryDeviceAreSampledWhereTheyAre) {
  simt::SetDevices({simt::Device{}, simt::Device{}});
  Owner first;
  first.Write();
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  Owner second;
  second.Write();
  const auto of_first = IpcMemory::Open(0, first.Handle(), first.EventHandle(), {0, kBytes});
  const auto of_second = IpcMemory::Open(1, second.Handle(), second.EventHandle(), {0, kBytes});
  ASSERT_TRUE(of_first.ok()) << of_first.status();
  ASSERT_TRUE(of_second.ok()) << of_second.status();
  const IpcRows on_first(**of_first);
  const IpcRows on_second(**of_second);
  const SamplingParams params;
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 64}).value();
  std::vector<RowInput> rows = second.Rows(params);
  std::vector<RowInput> there = on_second.At(rows);
  for (const RowInput& row : first.Rows(params)) rows.push_back(row);
  for (const RowInput& row : on_first.At(first.Rows(params))) there.push_back(row);
  const float of_host[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  RowInput& from_host = rows.emplace_back();
  from_host.values = of_host;
  from_host.vocab = 4;
  from_host.params = &params;
  there.push_back(from_host);
  ExpectSameTokens(*sampler, rows, there);
  EXPECT_EQ(simt::KernelCount(), 2u);
  EXPECT_TRUE(sampler->fallbacks().empty());
}

// The thread's current device stays that of the lanes while it reads rows of the other.
TEST_F(IpcMemoryTest, RowsOfADeviceThatIsLeftOutAreCopied) {
  simt::Device small;
  small.memory_bytes = size_t{1} << 20;
  simt::SetDevices({simt::Device{}, small});
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  Owner owner;
  owner.Write();
  const auto memory = IpcMemory::Open(1, owner.Handle(), owner.EventHandle(), {0, kBytes});
  ASSERT_TRUE(memory.ok()) << memory.status();
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  ExpectSameAsReference(*sampler, owner, **memory, {});
  EXPECT_EQ(simt::KernelCount(), 1u);
}

// After the copy, the thread's current device is still the sampler's.
TEST_F(IpcMemoryTest, ReadingLeavesTheDeviceOfTheThread) {
  simt::SetDevices({simt::Device{}, simt::Device{}});
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  Owner owner;
  owner.Write();
  const auto memory = IpcMemory::Open(1, owner.Handle(), owner.EventHandle(), {0, kBytes});
  ASSERT_TRUE(memory.ok()) << memory.status();
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  char bytes[64];
  EXPECT_TRUE((*memory)->Read(0, sizeof(bytes), bytes).ok());
  int device = -1;
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 0);
}

TEST_F(IpcMemoryTest, WithoutAnEventNothingIsWaitedFor) {
  Owner owner;
  owner.Write();
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto memory = IpcMemory::Open(0, owner.Handle(), "", {0, kBytes});
  ASSERT_TRUE(memory.ok()) << memory.status();
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  ExpectSameAsReference(*sampler, owner, **memory, {.min_p = 0.1});
}

TEST_F(IpcMemoryTest, RefusesWhatIsNone) {
  Owner owner;
  const auto refusal = [](const auto& memory) { return memory.status(); };
  absl::Status status = refusal(IpcMemory::Open(1, owner.Handle(), "", {0, kBytes}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("device must be below 1, the number of"));
  status = refusal(IpcMemory::Open(0, std::string(64, 'h'), "", {0, kBytes}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cuda_handle cannot be opened"));
  status = refusal(IpcMemory::Open(0, owner.Handle(), std::string(64, 'e'), {0, kBytes}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cuda_event cannot be opened"));
  constexpr uint64_t kMax = ~uint64_t{0};
  for (const IpcRange& range :
       {IpcRange{0, kBytes + 1}, IpcRange{0, kMax}, IpcRange{8, kBytes}, IpcRange{kBytes, 1},
        IpcRange{kMax, 1}, IpcRange{kMax - 7, 8}, IpcRange{1, kMax}, IpcRange{kMax, kMax}}) {
    status = refusal(IpcMemory::Open(0, owner.Handle(), "", range));
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(status.message(),
              absl::StrCat("offset ", range.offset, " and byte_size ", range.byte_size,
                           " must lie inside the ", kBytes, " bytes of the allocation"));
  }
  for (const size_t size : {0u, 63u, 65u}) {
    EXPECT_EQ(refusal(IpcMemory::Open(0, std::string(size, 'h'), "", {0, kBytes})).code(),
              absl::StatusCode::kInvalidArgument);
  }
  // The error of the refused call is cleared.
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

TEST_F(IpcMemoryTest, EveryCallOfTheRuntimeMayFail) {
  Owner owner;
  const std::string handle = owner.Handle();
  const std::string event = owner.EventHandle();
  for (uint64_t call = 1;; ++call) {
    simt::FailCall(call, cudaErrorMemoryAllocation, simt::Fault::kTransient);
    const bool opened = IpcMemory::Open(0, handle, event, {0, kBytes}).ok();
    const bool none_failed = simt::FaultIsPending();
    simt::FailCall(0, cudaSuccess, simt::Fault::kTransient);
    static_cast<void>(cudaGetLastError());
    if (none_failed) {
      EXPECT_TRUE(opened);
      EXPECT_GT(call, 5u);
      break;
    }
  }
}

}  // namespace
}  // namespace token_sampler
