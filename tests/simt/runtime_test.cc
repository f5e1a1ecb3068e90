// Tests the emulated runtime: kernels through launches and streams, what waits for what, and
// errors.

#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <numeric>
#include <vector>

#include "tests/simt/machine.h"
#include "tests/simt/test_kernels.h"

namespace simt {
namespace {

using simt_test::kBins;
using simt_test::kThreads;
using ::testing::HasSubstr;

class RuntimeTest : public ::testing::Test {
 protected:
  RuntimeTest() {
    ResetMachine();
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  ~RuntimeTest() override {
    ResetMachine();
    for (unsigned* memory : device_) cudaFree(memory);
    for (unsigned* memory : pinned_) cudaFreeHost(memory);
    cudaStreamDestroy(stream_);
    EXPECT_EQ(LiveObjects(), 0u);
  }

  unsigned* OnDevice(size_t words) {
    device_.push_back(nullptr);
    EXPECT_EQ(cudaMalloc(&device_.back(), words * sizeof(unsigned)), cudaSuccess);
    return device_.back();
  }
  unsigned* Pinned(size_t words) {
    pinned_.push_back(nullptr);
    EXPECT_EQ(cudaMallocHost(&pinned_.back(), words * sizeof(unsigned)), cudaSuccess);
    return pinned_.back();
  }
  unsigned* OnDevice(const std::vector<unsigned>& values) {
    unsigned* memory = OnDevice(values.size());
    EXPECT_EQ(cudaMemcpyAsync(memory, values.data(), values.size() * sizeof(unsigned),
                              cudaMemcpyHostToDevice, stream_),
              cudaSuccess);
    return memory;
  }
  std::vector<unsigned> OnHost(const unsigned* memory, size_t words) {
    std::vector<unsigned> values(words);
    EXPECT_EQ(cudaMemcpyAsync(values.data(), memory, words * sizeof(unsigned),
                              cudaMemcpyDeviceToHost, stream_),
              cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    return values;
  }

  cudaStream_t stream_ = nullptr;
  std::vector<unsigned*> device_;
  std::vector<unsigned*> pinned_;
};

std::vector<unsigned> SomeValues(size_t count) {
  std::vector<unsigned> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<unsigned>(i * 2654435761u >> 20);
  return values;
}

TEST_F(RuntimeTest, KernelsGiveTheSameUnderEverySchedule) {
  const std::vector<unsigned> values = SomeValues(3 * kThreads);
  for (const uint64_t seed : {0u, 1u, 2u, 3u}) {
    SetSchedule(seed);
    unsigned* sums = OnDevice(values.size());
    ASSERT_EQ(simt_test::LaunchScan(OnDevice(values), sums, 3, stream_), cudaSuccess);
    std::vector<unsigned> expected;
    for (size_t block = 0; block < 3; ++block) {
      const auto begin = values.begin() + static_cast<int>(block * kThreads);
      std::partial_sum(begin, begin + kThreads, std::back_inserter(expected));
    }
    EXPECT_EQ(OnHost(sums, values.size()), expected);

    unsigned* odd = OnDevice(kThreads);
    unsigned* count = OnDevice(1);
    ASSERT_EQ(simt_test::LaunchKeepOdd(OnDevice(values), odd, count, stream_), cudaSuccess);
    std::vector<unsigned> kept;
    for (size_t i = 0; i < kThreads; ++i) {
      if (values[i] % 2 == 1) kept.push_back(values[i]);
    }
    ASSERT_EQ(OnHost(count, 1)[0], kept.size());
    EXPECT_EQ(OnHost(odd, kept.size()), kept);
  }
}

TEST_F(RuntimeTest, AClusterCountsAsOneBlockDoes) {
  const std::vector<unsigned> values = SomeValues(5000);
  std::vector<unsigned> expected(kBins);
  for (const unsigned value : values) ++expected[value % kBins];
  for (const unsigned cluster : {1u, 2u, 8u}) {
    unsigned* bins = OnDevice(kBins);
    ASSERT_EQ(simt_test::LaunchHistogram(OnDevice(values), 5000, bins, cluster, stream_),
              cudaSuccess);
    EXPECT_EQ(OnHost(bins, kBins), expected) << cluster;
  }
  EXPECT_EQ(KernelCount(), 3u);
}

TEST_F(RuntimeTest, WorkWaitsForSomebodyToWaitForIt) {
  unsigned* from = Pinned(1);
  unsigned* to = Pinned(1);
  unsigned* device = OnDevice(1);
  cudaEvent_t copied;
  ASSERT_EQ(cudaEventCreateWithFlags(&copied, cudaEventDisableTiming), cudaSuccess);
  *from = 1;
  *to = 0;
  ASSERT_EQ(cudaMemcpyAsync(device, from, 4, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(to, device, 4, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(copied, stream_), cudaSuccess);
  *from = 2;  // too early: the copy reads it now
  EXPECT_EQ(*to, 0u);
  EXPECT_EQ(cudaEventQuery(copied), cudaErrorNotReady);
  EXPECT_EQ(cudaEventSynchronize(copied), cudaSuccess);
  EXPECT_EQ(*to, 2u);
  EXPECT_EQ(cudaEventQuery(copied), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(copied), cudaSuccess);
}

TEST_F(RuntimeTest, AStreamWaitsForAnEventOfAnother) {
  cudaStream_t other;
  cudaEvent_t filled;
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&filled, cudaEventDisableTiming), cudaSuccess);
  unsigned* device = OnDevice(1);
  ASSERT_EQ(cudaMemsetAsync(device, 1, 4, other), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(filled, other), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(stream_, filled), cudaSuccess);
  EXPECT_EQ(OnHost(device, 1)[0], 0x01010101u);
  EXPECT_EQ(cudaEventDestroy(filled), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(other), cudaSuccess);
}

TEST_F(RuntimeTest, AKernelThatHangsIsAStickyErrorWithAReport) {
  ASSERT_EQ(simt_test::LaunchHang(stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorLaunchFailure);
  EXPECT_THAT(KernelReport(), HasSubstr("never reaches"));
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
}

TEST_F(RuntimeTest, ATransientFaultIsThatOfOneCall) {
  FailCall(2, cudaErrorMemoryAllocation, Fault::kTransient);
  int count = 0;
  void* memory = nullptr;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_TRUE(FaultIsPending());
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorMemoryAllocation);
  EXPECT_FALSE(FaultIsPending());
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
}

TEST_F(RuntimeTest, RefusesWhatTheDeviceCannotDo) {
  SetDevices({Device{.major = 8, .shared_bytes = 100'000, .memory_bytes = 1 << 20}});
  unsigned* bins = OnDevice(kBins);
  EXPECT_EQ(simt_test::LaunchHistogram(bins, kBins, bins, 2, stream_), cudaErrorInvalidClusterSize);
  EXPECT_EQ(simt_test::LaunchScan(bins, bins, 0, stream_), cudaErrorInvalidConfiguration);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 2 << 20), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  unsigned word = 0;
  EXPECT_EQ(cudaMemcpyAsync(&word, bins, 4, cudaMemcpyHostToDevice, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(bins, &word, 4 * kBins + 1, cudaMemcpyDeviceToDevice, stream_),
            cudaErrorInvalidValue);
}

// Devices differ, and so does the code that a program has for them.
TEST_F(RuntimeTest, ClustersNeedADeviceAndAnImageThatKnowThem) {
  unsigned* bins = OnDevice(kBins);
  SetDevices({Device{.image = 80}});
  EXPECT_EQ(simt_test::LaunchHistogram(bins, kBins, bins, 2, stream_), cudaErrorInvalidClusterSize);
  SetDevices({Device{.largest_cluster = 2}});
  EXPECT_EQ(simt_test::LaunchHistogram(bins, kBins, bins, 4, stream_), cudaErrorInvalidClusterSize);
  EXPECT_EQ(simt_test::LaunchHistogram(bins, kBins, bins, 2, stream_), cudaSuccess);
}

TEST_F(RuntimeTest, ACaptureTellsWhatWasLaunchedAndRunsNothing) {
  unsigned* bins = OnDevice(kBins);
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), cudaErrorInvalidValue);
  ASSERT_EQ(simt_test::LaunchHistogram(bins, kBins, bins, 4, stream_), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorInvalidValue);
  size_t count = 0;
  ASSERT_EQ(cudaGraphGetNodes(graph, nullptr, &count), cudaSuccess);
  ASSERT_EQ(count, 1u);
  cudaGraphNode_t node = nullptr;
  ASSERT_EQ(cudaGraphGetNodes(graph, &node, &count), cudaSuccess);
  cudaKernelNodeParams kernel = {};
  ASSERT_EQ(cudaGraphKernelNodeGetParams(node, &kernel), cudaSuccess);
  EXPECT_EQ(kernel.gridDim.x, 4u);
  EXPECT_EQ(kernel.blockDim.x, kThreads);
  EXPECT_EQ(KernelCount(), 0u);
  int blocks = 0;
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel.func, kThreads, 0),
            cudaSuccess);
  EXPECT_EQ(blocks, 16);
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel.func, kThreads,
                                                          size_t{113} << 10),
            cudaSuccess);
  EXPECT_EQ(blocks, 2);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(RuntimeTest, AStreamTakesKernelsAndEventsOfItsDeviceAlone) {
  SetDevices({Device{}, Device{}});
  unsigned* bins = OnDevice(kBins);
  cudaEvent_t elsewhere;
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&elsewhere, cudaEventDisableTiming), cudaSuccess);
  EXPECT_EQ(simt_test::LaunchHistogram(bins, kBins, bins, 1, stream_),
            cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(elsewhere, stream_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamWaitEvent(stream_, elsewhere), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(bins, 0, 4, stream_), cudaSuccess);
  EXPECT_EQ(OnHost(bins, 1)[0], 0u);
  EXPECT_EQ(cudaEventDestroy(elsewhere), cudaSuccess);
}

TEST_F(RuntimeTest, AnAttributeOfAKernelIsThatOfOneDevice) {
  SetDevices({Device{}, Device{}});
  cudaStream_t elsewhere;
  ASSERT_EQ(simt_test::AllowShared(64 << 10), cudaSuccess);
  EXPECT_EQ(simt_test::LaunchNothing(64 << 10, stream_), cudaSuccess);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&elsewhere, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(simt_test::LaunchNothing(64 << 10, elsewhere), cudaErrorInvalidValue);
  EXPECT_EQ(simt_test::LaunchNothing(48 << 10, elsewhere), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(elsewhere), cudaSuccess);
}

TEST_F(RuntimeTest, TellsWhereMemoryIs) {
  unsigned word = 0;
  cudaPointerAttributes attributes;
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, OnDevice(4) + 2), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, Pinned(1)), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, &word), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
}

// Two mapped pages of a shared-memory object, which may be truncated.
class SharedPages {
 public:
  explicit SharedPages(int protection) : file_(memfd_create("simt", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(file_, kBytes), 0);
    pages_ = static_cast<char*>(mmap(nullptr, kBytes, protection, MAP_SHARED, file_, 0));
  }
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;
  ~SharedPages() {
    munmap(pages_, kBytes);
    close(file_);
  }

  char* get() const { return pages_; }
  void Cut() const { EXPECT_EQ(ftruncate(file_, 0), 0); }

  static constexpr size_t kBytes = 8192;

 private:
  const int file_;
  char* pages_ = nullptr;
};

TEST_F(RuntimeTest, RegistersWhatIsMappedOnce) {
  const SharedPages pages(PROT_READ | PROT_WRITE);
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaErrorHostMemoryNotRegistered);
  EXPECT_EQ(cudaHostRegister(pages.get(), 0, cudaHostRegisterDefault), cudaErrorInvalidValue);
  EXPECT_EQ(cudaHostRegister(pages.get(), size_t{1} << 46, cudaHostRegisterDefault),
            cudaErrorInvalidValue);
  ASSERT_EQ(cudaHostRegister(pages.get() + 4096, 4096, cudaHostRegisterPortable), cudaSuccess);
  for (const size_t first : {0u, 4096u, 8000u}) {
    EXPECT_EQ(cudaHostRegister(pages.get() + first, pages.kBytes - first, cudaHostRegisterDefault),
              cudaErrorHostMemoryAlreadyRegistered);
  }
  EXPECT_EQ(cudaHostRegister(pages.get(), 4096, cudaHostRegisterDefault), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pages.get()), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(OnDevice(pages.kBytes), pages.get(), pages.kBytes,
                            cudaMemcpyHostToDevice, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaHostUnregister(pages.get() + 1), cudaErrorHostMemoryNotRegistered);
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaErrorHostMemoryNotRegistered);
  EXPECT_EQ(cudaHostUnregister(pages.get() + 4096), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(Pinned(1)), cudaErrorHostMemoryNotRegistered);
}

TEST_F(RuntimeTest, RegistersReadOnlyPagesWhenItIsToldAndCan) {
  const SharedPages pages(PROT_READ);
  EXPECT_EQ(cudaHostRegister(pages.get(), pages.kBytes, cudaHostRegisterPortable),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaHostRegister(pages.get(), pages.kBytes, cudaHostRegisterReadOnly), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaSuccess);
  SetDevices({Device{.registers_read_only = false}});
  int supported = 1;
  EXPECT_EQ(cudaDeviceGetAttribute(&supported, cudaDevAttrHostRegisterReadOnlySupported, 0),
            cudaSuccess);
  EXPECT_EQ(supported, 0);
  EXPECT_EQ(cudaHostRegister(pages.get(), pages.kBytes, cudaHostRegisterReadOnly),
            cudaErrorNotSupported);
}

TEST_F(RuntimeTest, RegisteredPagesAreReadWhenTheCopyRuns) {
  simt::SetDevices({simt::Device{.cpu_copy_bytes = 0}});
  const SharedPages pages(PROT_READ | PROT_WRITE);
  ASSERT_EQ(cudaHostRegister(pages.get(), pages.kBytes, cudaHostRegisterDefault), cudaSuccess);
  auto* const words = reinterpret_cast<unsigned*>(pages.get());
  unsigned* device = OnDevice(4);
  words[1020] = 1;
  words[1023] = 2;
  // Copies two rows of two words, three words apart, to both ends of the memory.
  EXPECT_EQ(cudaMemcpy2DAsync(device, 8, words + 1020, 12, 8, 2, cudaMemcpyHostToDevice, stream_),
            cudaSuccess);
  words[1020] = 3;
  EXPECT_EQ(OnHost(device, 4), (std::vector<unsigned>{3, 0, 2, 0}));
  // The locked pages still exist, with unspecified contents.
  pages.Cut();
  EXPECT_EQ(cudaMemcpyAsync(device, words, 16, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaSuccess);
}

TEST_F(RuntimeTest, RefusesRowsThatOverlapOrLieOutside) {
  unsigned* from = Pinned(8);
  unsigned* device = OnDevice(4);
  const auto copy = [&](size_t to_pitch, size_t from_pitch, size_t width, size_t height) {
    return cudaMemcpy2DAsync(device, to_pitch, from, from_pitch, width, height,
                             cudaMemcpyHostToDevice, stream_);
  };
  EXPECT_EQ(copy(8, 16, 8, 2), cudaSuccess);
  EXPECT_EQ(copy(4, 16, 8, 2), cudaErrorInvalidPitchValue);
  EXPECT_EQ(copy(8, 4, 8, 2), cudaErrorInvalidPitchValue);
  EXPECT_EQ(copy(8, size_t{1} << 31, 8, 1), cudaErrorInvalidPitchValue);
  EXPECT_EQ(copy(8, 8, 8, 3), cudaErrorInvalidValue);
  EXPECT_EQ(copy(8, 32, 8, 2), cudaErrorInvalidValue);
}

// Like a driver, which copies little memory with the CPU.
TEST_F(RuntimeTest, LittleOfRegisteredPagesIsReadAtOnce) {
  const SharedPages pages(PROT_READ | PROT_WRITE);
  ASSERT_EQ(cudaHostRegister(pages.get(), pages.kBytes, cudaHostRegisterDefault), cudaSuccess);
  auto* const words = reinterpret_cast<unsigned*>(pages.get());
  unsigned* device = OnDevice(4);
  words[0] = 1;
  words[3] = 2;
  EXPECT_EQ(cudaMemcpy2DAsync(device, 8, words, 12, 8, 2, cudaMemcpyHostToDevice, stream_),
            cudaSuccess);
  words[0] = 3;
  EXPECT_EQ(OnHost(device, 4), (std::vector<unsigned>{1, 0, 2, 0}));
  EXPECT_EQ(cudaMemcpyAsync(device, words, 8, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  words[0] = 4;
  EXPECT_EQ(OnHost(device, 2), (std::vector<unsigned>{3, 0}));
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaSuccess);
}

TEST_F(RuntimeTest, ACopyFromPagesThatWereLetGoIsAnError) {
  simt::SetDevices({simt::Device{.cpu_copy_bytes = 0}});
  const SharedPages pages(PROT_READ | PROT_WRITE);
  ASSERT_EQ(cudaHostRegister(pages.get(), pages.kBytes, cudaHostRegisterDefault), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(OnDevice(1), pages.get(), 4, cudaMemcpyHostToDevice, stream_),
            cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(pages.get()), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorIllegalAddress);
}

TEST(MachineTest, WithoutADriverEveryCallSaysSo) {
  ResetMachine();
  RemoveDriver();
  int count = 1;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  EXPECT_EQ(count, 0);
  ResetMachine();
  SetDevices({});
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  ResetMachine();
}

}  // namespace
}  // namespace simt
