// Tests system regions that are pinned for an emulated CUDA device: they are copied to it without
// staging, and read again after the object has lost pages. The objects are real ones of this
// machine.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cuda/cuda_sampler.h"
#include "cuda/memory/pinned_memory.h"
#include "sampler/reference/reference_sampler.h"
#include "server/regions/guarded_mapping.h"
#include "server/regions/pinned_pages.h"
#include "server/regions/region_registry.h"
#include "server/regions/region_rows.h"
#include "server/regions/system_region.h"
#include "tests/simt/machine.h"
#include "tests/unit/server/region_objects.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kVocab = 701;
constexpr size_t kRows = 20;
constexpr size_t kRowBytes = kVocab * sizeof(float);
constexpr uint64_t kOffset = 5000;  // of the region: not at the beginning of a page
constexpr size_t kRegionBytes = kRows * kRowBytes;
constexpr size_t kObjectBytes = kOffset + kRegionBytes;

// The object of an owner who writes to a mapping of it.
class MappedObject : public Object {
 public:
  MappedObject()
      : Object(kObjectBytes, "-pinned"),
        bytes_(static_cast<char*>(
            mmap(nullptr, kObjectBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd(), 0))) {}
  ~MappedObject() { munmap(bytes_, kObjectBytes); }

  void Write(const std::vector<float>& values) const {
    std::memset(bytes_, 0, kOffset);
    std::memcpy(bytes_ + kOffset, values.data(), kRegionBytes);
  }

 private:
  char* const bytes_;
};

std::vector<float> Values(uint32_t seed) {
  std::vector<float> values(kRows * kVocab);
  for (uint32_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>((i + seed) * 2654435761u >> 22) * 0.01f;
  }
  return values;
}

PagePinning Pinning(bool read_only = true) {
  return {
      .pin = [read_only](const char* pages, size_t size) -> absl::StatusOr<std::shared_ptr<void>> {
        auto pinned = PinnedMemory::Pin(pages, size, read_only);
        if (!pinned.ok()) return pinned.status();
        return std::shared_ptr<PinnedMemory>(*std::move(pinned));
      },
      .needs_write = !read_only};
}

class PinnedRegionTest : public ::testing::Test {
 protected:
  PinnedRegionTest() {
    simt::ResetMachine();
    sampler_ = CreateCudaSampler({.buffer_bytes = 4 * kRowBytes + 64}).value();
    object_.Write(values_);
  }
  ~PinnedRegionTest() override {
    region_.reset();
    sampler_.reset();
    EXPECT_EQ(simt::LiveObjects(), 0u);
  }

  absl::Status Pin(const PagePinning& pinning = Pinning()) {
    region_ = SystemRegion::Open(object_.key(), kOffset, kRegionBytes).value();
    return region_->Pin(pinning);
  }

  struct Call {
    std::vector<RowResult> results;
    absl::Status status;  // that the server returns for the call
  };
  Call Sample() {
    const RegionRows source(
        region_, {.offset = 0, .rows = kRows, .row_bytes = kRowBytes, .stride = kRowBytes},
        "tensor.region");
    std::vector<RowInput> rows = Rows();
    for (size_t i = 0; i < kRows; ++i) {
      rows[i].values = nullptr;
      rows[i].source = &source;
      rows[i].source_offset = i * kRowBytes;
    }
    Call call = {.results = std::vector<RowResult>(kRows), .status = {}};
    call.status = sampler_->Sample(rows, absl::MakeSpan(call.results));
    call.status.Update(source.Check());
    return call;
  }

  void ExpectTokensOfValues() {
    const std::vector<RowInput> rows = Rows();
    std::vector<RowResult> expected(kRows);
    ASSERT_TRUE(CreateReferenceSampler()->Sample(rows, absl::MakeSpan(expected)).ok());
    const Call call = Sample();
    EXPECT_TRUE(call.status.ok()) << call.status;
    for (size_t i = 0; i < kRows; ++i) {
      EXPECT_EQ(call.results[i].code, RowCode::kOk);
      EXPECT_EQ(call.results[i].token_ids, expected[i].token_ids) << i;
    }
  }

  void ChangeValues(uint32_t seed) {
    values_ = Values(seed);
    object_.Write(values_);
  }

  const SamplingParams params_ = {.top_k = 30};
  std::vector<float> values_ = Values(1);
  const MappedObject object_;
  std::unique_ptr<Sampler> sampler_;
  std::shared_ptr<SystemRegion> region_;

 private:
  std::vector<RowInput> Rows() const {
    std::vector<RowInput> rows(kRows);
    for (size_t i = 0; i < kRows; ++i) {
      rows[i].values = &values_[i * kVocab];
      rows[i].vocab = kVocab;
      rows[i].params = &params_;
      rows[i].key = {.seed = i};
    }
    return rows;
  }
};

TEST_F(PinnedRegionTest, RowsAreCopiedFromWhereTheyAreAndAsTheyAreThen) {
  ASSERT_TRUE(Pin().ok());
  for (uint32_t seed = 1; seed < 4; ++seed) {
    ChangeValues(seed);
    ExpectTokensOfValues();
    EXPECT_NE(region_->pinned_memory(), nullptr);
    EXPECT_TRUE(region_->Holds());
  }
  EXPECT_THAT(sampler_->fallbacks(), IsEmpty());
}

TEST_F(PinnedRegionTest, PagesAreWritableWhereDevicesNeedThat) {
  simt::SetDevices({simt::Device{.registers_read_only = false}});
  EXPECT_FALSE(Pin(Pinning(/*read_only=*/true)).ok());
  const absl::Status status = Pin(Pinning(/*read_only=*/false));
  EXPECT_TRUE(status.ok()) << status;
  ExpectTokensOfValues();
  simt::ResetMachine();
}

// CUDA copies from the pages by DMA, or with the CPU, which would get the signal.
TEST_F(PinnedRegionTest, AnObjectThatIsCutIsAnErrorAndNoSignal) {
  for (const size_t cpu_copy_bytes : {size_t{0}, 2 * kRegionBytes}) {
    simt::SetDevices({simt::Device{.cpu_copy_bytes = cpu_copy_bytes}});
    for (const size_t size : {kObjectBytes - 1, kObjectBytes / 2, size_t{0}}) {
      object_.Truncate(kObjectBytes);
      ChangeValues(1);
      ASSERT_TRUE(Pin().ok());
      object_.Truncate(size);
      const Call call = Sample();
      EXPECT_EQ(call.status.code(), absl::StatusCode::kFailedPrecondition) << size;
      EXPECT_THAT(std::string(call.status.message()), HasSubstr("was truncated below"));
      EXPECT_EQ(region_->pinned_memory(), nullptr);
      if (size == 0) {
        EXPECT_EQ(Sample().results.back().code, RowCode::kInvalidInput);
      }
      region_.reset();
    }
  }
  simt::ResetMachine();
}

// The locked pages no longer belong to the object, so copying them would sample old values.
TEST_F(PinnedRegionTest, WhatGrowsAgainBehindACutIsReadFromTheObject) {
  ASSERT_TRUE(Pin().ok());
  ExpectTokensOfValues();
  object_.Truncate(0);
  object_.Truncate(kObjectBytes);
  ChangeValues(7);
  ExpectTokensOfValues();
  EXPECT_EQ(region_->pinned_memory(), nullptr);
  // From now on the lanes of the device stage the values.
  const uint64_t kernels = simt::KernelCount();
  ChangeValues(8);
  ExpectTokensOfValues();
  EXPECT_GT(simt::KernelCount(), kernels);
}

TEST_F(PinnedRegionTest, PagesThatAreFreedInTheMiddleAreSeen) {
  ASSERT_TRUE(Pin().ok());
  ASSERT_EQ(fallocate(object_.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 8192), 0);
  ChangeValues(9);
  ExpectTokensOfValues();
  EXPECT_EQ(region_->pinned_memory(), nullptr);
}

TEST_F(PinnedRegionTest, CallsLiveThroughCutsAtAnyTime) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    simt::SetDevices({simt::Device{.cpu_copy_bytes = seed % 2 == 0 ? 0 : 2 * kRegionBytes}});
    ChangeValues(seed);
    ASSERT_TRUE(Pin().ok());
    std::atomic<bool> ends = false;
    std::thread owner([&] {
      do {
        object_.Truncate(kOffset);
        object_.Truncate(kObjectBytes);
      } while (!ends);
    });
    for (int call = 0; call < 3; ++call) {
      const absl::Status status = Sample().status;
      EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kFailedPrecondition) << status;
    }
    ends = true;
    owner.join();
    EXPECT_FALSE(region_->Holds());
    region_.reset();
  }
  simt::ResetMachine();
}

TEST_F(PinnedRegionTest, WritingThroughTheDescriptorEndsIt) {
  ASSERT_TRUE(Pin().ok());
  float first = values_[0];
  ASSERT_TRUE(region_->Write(0, {reinterpret_cast<const char*>(&first), sizeof(first)}).ok());
  ExpectTokensOfValues();
  EXPECT_EQ(region_->pinned_memory(), nullptr);
}

TEST_F(PinnedRegionTest, AnObjectThatIsUnlinkedIsAnError) {
  ASSERT_TRUE(Pin().ok());
  object_.Unlink();
  const Call call = Sample();
  EXPECT_EQ(call.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(call.status.message()), HasSubstr("was unlinked or replaced"));
}

TEST_F(PinnedRegionTest, MemoryThatItsOwnerDoesNotHaveIsNotMadeByPinning) {
  object_.Truncate(0);
  object_.Truncate(kObjectBytes);
  const absl::Status status = Pin();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            absl::StrCat("the object has ", kObjectBytes,
                         " bytes and memory for 0: its owner must write or allocate "
                         "(posix_fallocate) all of it before"));
  ChangeValues(3);
  ExpectTokensOfValues();
  ASSERT_EQ(posix_fallocate(object_.fd(), 0, kObjectBytes), 0);
  EXPECT_TRUE(Pin().ok());
}

TEST_F(PinnedRegionTest, WhatMayOnlyBeReadIsNotPinnedForWriting) {
  const int file = shm_open(object_.key().c_str(), O_RDONLY, 0);
  const auto mapping = GuardedMapping::Create(file, kOffset, kRegionBytes).value();
  EXPECT_TRUE(PinnedPages::Pin(file, *mapping, Pinning(/*read_only=*/true)).ok());
  EXPECT_EQ(PinnedPages::Pin(file, *mapping, Pinning(/*read_only=*/false)).status().code(),
            absl::StatusCode::kPermissionDenied);
  close(file);
}

TEST_F(PinnedRegionTest, ARefusalLeavesTheRegionAsItWas) {
  const auto refuse = [](const char*, size_t) -> absl::StatusOr<std::shared_ptr<void>> {
    return absl::InternalError("no more");
  };
  EXPECT_EQ(Pin({.pin = refuse}).message(), "no more");
  EXPECT_EQ(region_->pinned_memory(), nullptr);
  ExpectTokensOfValues();
}

TEST_F(PinnedRegionTest, TheRegistryPinsWhatIsRegisteredAndLetsGo) {
  RegionRegistry regions({.kinds = "system", .max_regions_per_peer = 1, .pinning = Pinning()});
  const SystemRegionRequest request = {
      .key = object_.key(), .offset = kOffset, .byte_size = kRegionBytes};
  const size_t before = simt::LiveObjects();
  ASSERT_TRUE(regions.Register("a", request, Me()).ok());
  EXPECT_NE((*regions.Find("a", Me()))->pinned_memory(), nullptr);
  EXPECT_EQ(simt::LiveObjects(), before + 1);
  // A region that the quotas refuse is not pinned.
  EXPECT_EQ(regions.Register("b", request, Me()).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(simt::LiveObjects(), before + 1);
  ASSERT_TRUE(regions.Unregister("a", Me(), [] {}).ok());
  EXPECT_EQ(simt::LiveObjects(), before);
}

TEST_F(PinnedRegionTest, TheRegistryTakesWhatCannotBePinned) {
  RegionRegistry regions({.kinds = "system", .pinning = Pinning()});
  object_.Truncate(0);
  object_.Truncate(kObjectBytes);
  ASSERT_TRUE(regions
                  .Register("a",
                            SystemRegionRequest{
                                .key = object_.key(), .offset = kOffset, .byte_size = kRegionBytes},
                            Me())
                  .ok());
  EXPECT_EQ((*regions.Find("a", Me()))->pinned_memory(), nullptr);
}

}  // namespace
}  // namespace token_sampler
