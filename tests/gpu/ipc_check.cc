#include "tests/gpu/ipc_check.h"

#include <cuda_runtime.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda/launch/cuda_handles.h"
#include "cuda/memory/ipc_memory.h"
#include "tests/conformance/kernel_rows.h"
#include "tests/conformance/random_batch.h"
#include "tests/conformance/row_difference.h"
#include "tests/gpu/device_rows.h"

namespace token_sampler::testing {
namespace {

#ifdef TOKEN_SAMPLER_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

constexpr uint64_t kSeed = 77;
constexpr int kExitRefused = 3;
constexpr size_t kHandleBytes = sizeof(cudaIpcMemHandle_t);

// The same in both processes.
struct SharedRows {
  SharedRows() : batch(MakeRandomBatch(kSeed, kIpcRows, 5'000)) {
    LeaveToKernel(kSeed, batch);
    inputs = batch.Inputs();
    layout = LayOutRows(inputs, kSeed);
  }

  RandomBatch batch;
  std::vector<RowInput> inputs;
  RowLayout layout;
};

template <typename Handle>
std::string BytesOf(const Handle& handle) {
  return {reinterpret_cast<const char*>(&handle), sizeof(handle)};
}

struct EventDestroy {
  void operator()(cudaEvent_t event) const { static_cast<void>(cudaEventDestroy(event)); }
};
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, EventDestroy>;

// Unimplemented when a call fails that only sharing needs.
absl::Status ToSharingStatus(cudaError_t error, const char* call) {
  const absl::Status status = cuda::ToStatus(error, call);
  return status.ok() ? status : absl::UnimplementedError(status.message());
}

// The process that has the rows.
class Owner {
 public:
  absl::Status Write(const std::vector<char>& bytes) {
    absl::Status status = cuda::Create(stream_);
    if (status.ok()) status = cuda::Allocate(bytes.size(), memory_);
    if (status.ok()) status = MakeHandles();
    if (!status.ok()) return status;
    status = cuda::ToStatus(cudaMemcpyAsync(memory_.get(), bytes.data(), bytes.size(),
                                            cudaMemcpyHostToDevice, stream_.get()),
                            "cudaMemcpyAsync");
    if (!status.ok()) return status;
    return cuda::ToStatus(cudaEventRecord(event_.get(), stream_.get()), "cudaEventRecord");
  }

  const std::string& handles() const { return handles_; }

 private:
  absl::Status MakeHandles() {
    cudaEvent_t made = nullptr;
    absl::Status status = ToSharingStatus(
        cudaEventCreateWithFlags(&made, cudaEventDisableTiming | cudaEventInterprocess),
        "cudaEventCreateWithFlags");
    event_.reset(made);
    cudaIpcMemHandle_t memory_handle;
    cudaIpcEventHandle_t event_handle;
    if (status.ok()) {
      status = ToSharingStatus(cudaIpcGetMemHandle(&memory_handle, memory_.get()),
                               "cudaIpcGetMemHandle");
    }
    if (status.ok()) {
      status = ToSharingStatus(cudaIpcGetEventHandle(&event_handle, event_.get()),
                               "cudaIpcGetEventHandle");
    }
    if (status.ok()) handles_ = BytesOf(memory_handle) + BytesOf(event_handle);
    return status;
  }

  cuda::Stream stream_;
  cuda::DeviceArray<char> memory_;
  Event event_;
  std::string handles_;
};

// This program again, as the owner.
class OwnerProcess {
 public:
  OwnerProcess() = default;
  OwnerProcess(const OwnerProcess&) = delete;
  OwnerProcess& operator=(const OwnerProcess&) = delete;
  ~OwnerProcess() { static_cast<void>(End()); }

  // The handles, or fewer bytes when the process fails.
  std::string Start() {
    int to_it[2];
    int from_it[2];
    if (pipe(to_it) != 0 || pipe(from_it) != 0) return "";
    id_ = fork();
    if (id_ == 0) {
      // Between fork and exec nothing of CUDA is touched.
      dup2(to_it[0], STDIN_FILENO);
      dup2(from_it[1], STDOUT_FILENO);
      for (const int end : {to_it[0], to_it[1], from_it[0], from_it[1]}) close(end);
      execl("/proc/self/exe", "token-sampler-gpu-check", kIpcOwnerArgument, nullptr);
      _exit(EXIT_FAILURE);
    }
    close(to_it[0]);
    close(from_it[1]);
    input_ = to_it[1];
    std::string handles(2 * kHandleBytes, '\0');
    size_t size = 0;
    for (ssize_t got = 1; got > 0 && size < handles.size(); size += static_cast<size_t>(got)) {
      got = read(from_it[0], handles.data() + size, handles.size() - size);
      if (got < 0) break;
    }
    close(from_it[0]);
    handles.resize(size);
    return handles;
  }

  // Its exit code, negative when it did not exit.
  int End() {
    if (id_ <= 0) return -1;
    close(input_);
    int status = 0;
    const bool waited = waitpid(id_, &status, 0) == id_;
    id_ = -1;
    return waited && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t id_ = -1;
  int input_ = -1;
};

class IpcRows final : public RowSource {
 public:
  explicit IpcRows(const IpcMemory& memory) : memory_(memory) {}

  const DeviceMemory* device_memory() const override { return &memory_.place(); }
  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    return memory_.Read(offset, size, to);
  }

 private:
  const IpcMemory& memory_;
};

absl::StatusOr<std::string> DifferenceBehind(const std::string& handles, const SharedRows& shared,
                                             Sampler& cuda, Sampler& cpu) {
  const absl::string_view both = handles;
  const auto memory = IpcMemory::Open(0, both.substr(0, kHandleBytes), both.substr(kHandleBytes),
                                      {0, shared.layout.bytes.size()});
  // The handles are those of the owner, so that there is nothing wrong with them.
  if (absl::IsInvalidArgument(memory.status())) {
    return absl::UnimplementedError(memory.status().message());
  }
  if (!memory.ok()) return memory.status();
  const IpcRows source(**memory);
  std::vector<RowResult> expected(shared.inputs.size());
  std::vector<RowResult> actual(shared.inputs.size());
  absl::Status status = cpu.Sample(shared.inputs, absl::MakeSpan(expected));
  if (status.ok()) {
    status = cuda.Sample(RowsIn(source, shared.inputs, shared.layout), absl::MakeSpan(actual));
  }
  if (!status.ok()) return status;
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string difference = RowDifference(actual[i], expected[i]);
    if (!difference.empty()) {
      return "differs in " + difference + ": " + shared.batch.rows[i]->description;
    }
  }
  return "";
}

absl::StatusOr<std::string> DifferenceOfAnotherProcess(const SharedRows& shared, Sampler& cuda,
                                                       Sampler& cpu) {
  OwnerProcess process;
  const std::string handles = process.Start();
  if (handles.size() == 2 * kHandleBytes) {
    absl::StatusOr<std::string> difference = DifferenceBehind(handles, shared, cuda, cpu);
    const int code = process.End();
    if (difference.ok() && code != EXIT_SUCCESS) {
      return absl::InternalError("the process that owns the rows failed");
    }
    return difference;
  }
  // It has said on standard error what was refused.
  if (process.End() == kExitRefused) return absl::UnimplementedError("the owner of the rows");
  return absl::InternalError("the process that owns the rows gave no handles");
}

}  // namespace

int RunIpcOwner() {
  Owner owner;
  const absl::Status status = owner.Write(SharedRows().layout.bytes);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return absl::IsUnimplemented(status) ? kExitRefused : EXIT_FAILURE;
  }
  std::fwrite(owner.handles().data(), 1, owner.handles().size(), stdout);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return EXIT_SUCCESS;
}

absl::StatusOr<std::string> IpcDifference(Sampler& cuda, Sampler& cpu) {
  const SharedRows shared;
  if (!kEmulated) return DifferenceOfAnotherProcess(shared, cuda, cpu);
  Owner owner;
  if (absl::Status status = owner.Write(shared.layout.bytes); !status.ok()) return status;
  return DifferenceBehind(owner.handles(), shared, cuda, cpu);
}

}  // namespace token_sampler::testing
