// The checks whose memory a device or a system may refuse, and what they use of the device.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cuda/cuda_sampler.h"
#include "sampler/cpu/cpu_sampler.h"
#include "tests/gpu/device_rows.h"
#include "tests/gpu/ipc_check.h"
#include "tests/gpu/pinned_check.h"
#include "tests/simt/machine.h"

namespace token_sampler::testing {
namespace {

class SharedMemoryTest : public ::testing::Test {
 protected:
  ~SharedMemoryTest() override { simt::ResetMachine(); }

  std::unique_ptr<Sampler> cuda_ = CreateCudaSampler().value();
  std::unique_ptr<Sampler> cpu_ = CreateCpuSampler({.threads = 1}).value();
};

TEST_F(SharedMemoryTest, ThatIsRefusedIsNoFailure) {
  simt::SetDevices({simt::Device{.shares_memory = false}});
  for (const auto& difference : {IpcDifference(*cuda_, *cpu_), PinnedDifference(*cuda_, *cpu_)}) {
    EXPECT_EQ(difference.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_NE(difference.status().message().find("cudaErrorNotSupported"), std::string::npos);
  }
}

TEST_F(SharedMemoryTest, ThatALostDeviceHasIsAFailure) {
  simt::FailCall(1, cudaErrorIllegalAddress, simt::Fault::kSticky);
  EXPECT_EQ(IpcDifference(*cuda_, *cpu_).status().code(), absl::StatusCode::kInternal);
}

TEST(DeviceBytesTest, TakesMemoryOnce) {
  DeviceBytes bytes;
  ASSERT_TRUE(bytes.Put(std::vector<char>(1000, 'a')).ok());
  const size_t objects = simt::LiveObjects();
  const char* const address = bytes.device_memory()->address;
  ASSERT_TRUE(bytes.Put(std::vector<char>(500, 'b')).ok());
  EXPECT_EQ(bytes.device_memory()->address, address);
  EXPECT_EQ(simt::LiveObjects(), objects);
  std::string read(600, ' ');
  ASSERT_TRUE(bytes.Read(0, read.size(), read.data()).ok());
  EXPECT_EQ(read, std::string(500, 'b') + std::string(100, 'a'));
  ASSERT_TRUE(bytes.Put(std::vector<char>(5000, 'c')).ok());
  EXPECT_EQ(simt::LiveObjects(), objects);
}

}  // namespace
}  // namespace token_sampler::testing
