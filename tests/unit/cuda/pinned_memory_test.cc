// Tests rows in pinned memory on the emulated runtime: few copies bring them to the device without
// staging, and they are read again if their source did not hold.

#include "cuda/memory/pinned_memory.h"

#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda/cuda_sampler.h"
#include "sampler/reference/reference_sampler.h"
#include "sampler/rows/row_source.h"
#include "tests/simt/machine.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kBytes = size_t{1} << 18;

// A source with logits in pages that can be pinned.
class PinnedRows final : public RowSource {
 public:
  PinnedRows()
      : pages_(static_cast<char*>(
            mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    for (size_t i = 0; i < kBytes / sizeof(float); ++i) {
      values()[i] = static_cast<float>((i * 2654435761u) % 1000) * 0.01f;
    }
  }
  PinnedRows(const PinnedRows&) = delete;
  PinnedRows& operator=(const PinnedRows&) = delete;
  ~PinnedRows() override {
    Unpin();
    munmap(pages_, kBytes);
  }

  absl::Status Pin() {
    auto pinned = PinnedMemory::Pin(pages_, kBytes, /*read_only=*/false);
    if (pinned.ok()) pinned_ = *std::move(pinned);
    return pinned.status();
  }
  void Unpin() { pinned_.reset(); }

  float* values() { return reinterpret_cast<float*>(pages_); }

  const char* pinned_memory() const override { return pinned_ == nullptr ? nullptr : pages_; }
  bool Holds() const override {
    ++times_asked;
    return holds;
  }
  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    ++reads;
    if (broken) return absl::FailedPreconditionError("the memory went away");
    std::memcpy(to, pages_ + offset, size);
    return absl::OkStatus();
  }

  // The same rows, one every `stride` values: in memory, and with this source.
  struct Rows {
    std::vector<RowInput> in_memory;
    std::vector<RowInput> here;
  };
  Rows Make(size_t count, size_t vocab, size_t stride, const SamplingParams& params) {
    Rows rows;
    for (size_t i = 0; i < count; ++i) {
      RowInput row;
      row.values = values() + i * stride;
      row.vocab = static_cast<int64_t>(vocab);
      row.params = &params;
      row.key = {.seed = i};
      rows.in_memory.push_back(row);
      row.values = nullptr;
      row.source = this;
      row.source_offset = i * stride * sizeof(float);
      rows.here.push_back(row);
    }
    return rows;
  }

  bool holds = true;
  bool broken = false;
  mutable int reads = 0;
  mutable int times_asked = 0;

 private:
  char* const pages_;
  std::unique_ptr<PinnedMemory> pinned_;
};

std::vector<RowResult> Sample(Sampler& sampler, const std::vector<RowInput>& rows) {
  std::vector<RowResult> results(rows.size());
  const absl::Status status = sampler.Sample(rows, absl::MakeSpan(results));
  EXPECT_TRUE(status.ok()) << status;
  return results;
}

void ExpectSame(const std::vector<RowResult>& actual, const std::vector<RowResult>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t row = 0; row < expected.size(); ++row) {
    EXPECT_EQ(actual[row].code, expected[row].code) << row;
    EXPECT_EQ(actual[row].token_ids, expected[row].token_ids) << row;
  }
}

class PinnedMemoryTest : public ::testing::Test {
 protected:
  PinnedMemoryTest() { simt::ResetMachine(); }
  ~PinnedMemoryTest() override {
    simt::ResetMachine();
    EXPECT_EQ(simt::LiveObjects(), 0u);
  }

  // Returns the number of copies that a call makes.
  static uint64_t Copies(Sampler& sampler, const std::vector<RowInput>& rows) {
    const uint64_t before = simt::CopyCount();
    Sample(sampler, rows);
    return simt::CopyCount() - before;
  }

  const SamplingParams params_ = {.top_k = 20, .top_p = 0.9};
};

TEST_F(PinnedMemoryTest, RowsHaveTheTokensOfStagedOnesAndAreNotRead) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  struct Layout {
    size_t vocab;
    size_t stride;
  };
  // Rows one after the other, with and without gaps, aligned and not.
  for (const auto& [vocab, stride] : {Layout{700, 700}, {701, 701}, {701, 1000}, {3, 3}, {5, 9}}) {
    PinnedRows source;
    const PinnedRows::Rows rows = source.Make(40, vocab, stride, params_);
    const std::vector<RowResult> expected = Sample(*CreateReferenceSampler(), rows.in_memory);
    ExpectSame(Sample(*sampler, rows.here), expected);
    EXPECT_EQ(source.reads, 40);
    ASSERT_TRUE(source.Pin().ok());
    ExpectSame(Sample(*sampler, rows.here), expected);
    EXPECT_EQ(source.reads, 40);
    EXPECT_GE(source.times_asked, 1);
  }
  EXPECT_THAT(sampler->fallbacks(), IsEmpty());
}

// The source is asked once for all rows of a call that are under way together.
TEST_F(PinnedMemoryTest, ASourceIsAskedOnceWhetherItHolds) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  PinnedRows source;
  ASSERT_TRUE(source.Pin().ok());
  Sample(*sampler, source.Make(40, 700, 1000, params_).here);
  EXPECT_EQ(source.times_asked, 1);
}

TEST_F(PinnedMemoryTest, NeighboursAreOneCopy) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  PinnedRows source;
  ASSERT_TRUE(source.Pin().ok());
  const uint64_t of_one = Copies(*sampler, source.Make(1, 700, 700, params_).here);
  for (const size_t stride : {700u, 701u, 1500u}) {
    EXPECT_EQ(Copies(*sampler, source.Make(40, 700, stride, params_).here), of_one) << stride;
    EXPECT_EQ(Copies(*sampler, source.Make(40, 699, stride, params_).here), of_one) << stride;
  }
  // Rows 0 .. 4, 6 .. 9, then back to 0.
  std::vector<RowInput> rows = source.Make(10, 700, 1500, params_).here;
  rows.erase(rows.begin() + 5);
  rows.push_back(rows.front());
  EXPECT_EQ(Copies(*sampler, rows), of_one + 2);
}

// A part of the values that is pinned separately.
class PinnedPart final : public RowSource {
 public:
  PinnedPart(const char* pages, size_t size)
      : pages_(pages), pinned_(PinnedMemory::Pin(pages, size, /*read_only=*/false).value()) {}

  const char* pinned_memory() const override { return pages_; }
  absl::Status Read(uint64_t, size_t, char*) const override {
    return absl::InternalError("not asked for");
  }

 private:
  const char* const pages_;
  const std::unique_ptr<PinnedMemory> pinned_;
};

// The mapping of one source may begin where that of another ends.
TEST_F(PinnedMemoryTest, NoCopyGoesFromOneSourceToAnother) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  constexpr size_t kPartBytes = 4096;
  PinnedRows all;
  const PinnedRows::Rows rows =
      all.Make(4, kPartBytes / sizeof(float), kPartBytes / sizeof(float), params_);
  std::vector<std::unique_ptr<PinnedPart>> parts;
  std::vector<RowInput> in_parts = rows.here;
  for (size_t i = 0; i < in_parts.size(); ++i) {
    const auto* const pages = reinterpret_cast<const char*>(all.values()) + i * kPartBytes;
    parts.push_back(std::make_unique<PinnedPart>(pages, kPartBytes));
    in_parts[i].source = parts[i].get();
    in_parts[i].source_offset = 0;
  }
  ExpectSame(Sample(*sampler, in_parts), Sample(*CreateReferenceSampler(), rows.in_memory));
}

TEST_F(PinnedMemoryTest, PinnedAndStagedRowsMix) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  PinnedRows pinned;
  PinnedRows staged;
  ASSERT_TRUE(pinned.Pin().ok());
  const PinnedRows::Rows of_pinned = pinned.Make(12, 701, 701, params_);
  const PinnedRows::Rows of_staged = staged.Make(12, 333, 500, params_);
  std::vector<RowInput> rows;
  std::vector<RowInput> in_memory;
  for (size_t i = 0; i < 12; ++i) {
    for (const PinnedRows::Rows* of : {&of_pinned, &of_staged}) {
      rows.push_back(of->here[i]);
      in_memory.push_back(of->in_memory[i]);
    }
    rows.push_back(of_pinned.in_memory[i]);
    in_memory.push_back(of_pinned.in_memory[i]);
  }
  ExpectSame(Sample(*sampler, rows), Sample(*CreateReferenceSampler(), in_memory));
  EXPECT_EQ(pinned.reads, 0);
  EXPECT_EQ(staged.reads, 12);
}

TEST_F(PinnedMemoryTest, RowsOfASourceThatDidNotHoldFailAlone) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  PinnedRows good;
  PinnedRows gone;
  ASSERT_TRUE(good.Pin().ok());
  ASSERT_TRUE(gone.Pin().ok());
  gone.holds = false;
  gone.broken = true;
  const PinnedRows::Rows of_good = good.Make(8, 700, 700, params_);
  const PinnedRows::Rows of_gone = gone.Make(8, 700, 700, params_);
  std::vector<RowInput> rows;
  for (size_t i = 0; i < 8; ++i) {
    rows.push_back(of_good.here[i]);
    rows.push_back(of_gone.here[i]);
  }
  const std::vector<RowResult> expected = Sample(*CreateReferenceSampler(), of_good.in_memory);
  const std::vector<RowResult> results = Sample(*sampler, rows);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(results[2 * i].token_ids, expected[i].token_ids);
    EXPECT_EQ(results[2 * i + 1].code, RowCode::kInvalidInput);
    EXPECT_THAT(results[2 * i + 1].message, HasSubstr("the memory went away"));
    EXPECT_THAT(results[2 * i + 1].token_ids, IsEmpty());
  }
}

TEST_F(PinnedMemoryTest, RowsOfASourceThatDidNotHoldAreReadAnew) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  PinnedRows source;
  ASSERT_TRUE(source.Pin().ok());
  source.holds = false;
  const PinnedRows::Rows rows = source.Make(8, 700, 700, params_);
  ExpectSame(Sample(*sampler, rows.here), Sample(*CreateReferenceSampler(), rows.in_memory));
  EXPECT_EQ(source.reads, 8);
  ASSERT_EQ(sampler->fallbacks().size(), 1u);
  EXPECT_EQ(sampler->fallbacks()[0].reason, "values");
}

// Whichever call of the runtime fails, no copy is under way when the pages are freed.
TEST_F(PinnedMemoryTest, AnErrorLeavesNoCopyUnderWay) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  int failures = 0;
  for (uint64_t call = 1; call <= 1000; ++call) {
    SCOPED_TRACE(call);
    PinnedRows source;
    ASSERT_TRUE(source.Pin().ok());
    const PinnedRows::Rows rows = source.Make(9, 700, 701, params_);
    std::vector<RowResult> results(rows.here.size());
    simt::FailCall(call, cudaErrorLaunchOutOfResources, simt::Fault::kTransient);
    const absl::Status status = sampler->Sample(rows.here, absl::MakeSpan(results));
    if (simt::FaultIsPending()) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    ++failures;
    source.Unpin();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    ExpectSame(Sample(*sampler, rows.here), Sample(*CreateReferenceSampler(), rows.in_memory));
  }
  EXPECT_GE(failures, 10);
  simt::ResetMachine();
}

TEST_F(PinnedMemoryTest, SaysWhyItRefuses) {
  PinnedRows source;
  ASSERT_TRUE(source.Pin().ok());
  const absl::Status twice = source.Pin();
  EXPECT_EQ(twice.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(twice.message()),
              HasSubstr("cudaHostRegister: cudaErrorHostMemoryAlreadyRegistered"));
  // The error of the refused call is cleared.
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  source.Unpin();
  EXPECT_TRUE(source.Pin().ok());
}

// There, a page that is lost would be an error of the device, which ends the server.
TEST_F(PinnedMemoryTest, RefusesWhereDevicesUseThePageTablesOfTheProcess) {
  simt::SetDevices({simt::Device{}, simt::Device{.uses_host_page_tables = true}});
  PinnedRows source;
  EXPECT_EQ(source.Pin().code(), absl::StatusCode::kUnimplemented);
  simt::ResetMachine();
  EXPECT_TRUE(source.Pin().ok());
}

TEST_F(PinnedMemoryTest, TakesReadOnlyPagesWhereEveryDeviceDoes) {
  void* const pages = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto pin = [&](bool read_only) {
    return PinnedMemory::Pin(static_cast<const char*>(pages), 4096, read_only).ok();
  };
  EXPECT_TRUE(PinnedMemory::TakesReadOnly());
  EXPECT_TRUE(pin(true));
  EXPECT_FALSE(pin(false));
  simt::SetDevices({simt::Device{}, simt::Device{.registers_read_only = false}});
  EXPECT_FALSE(PinnedMemory::TakesReadOnly());
  simt::RemoveDriver();
  EXPECT_FALSE(PinnedMemory::TakesReadOnly());
  EXPECT_FALSE(pin(true));
  simt::ResetMachine();
  munmap(pages, 4096);
}

}  // namespace
}  // namespace token_sampler
