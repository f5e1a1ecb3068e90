#include "tests/gpu/pinned_check.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cuda/memory/pinned_memory.h"
#include "sampler/rows/row_source.h"
#include "server/regions/guarded_mapping.h"
#include "tests/conformance/kernel_rows.h"
#include "tests/conformance/random_batch.h"
#include "tests/conformance/row_difference.h"
#include "tests/gpu/device_rows.h"

namespace token_sampler::testing {
namespace {

constexpr uint64_t kSeed = 78;

absl::Status SystemError(const char* call) {
  return absl::InternalError(absl::StrCat(call, ": ", strerror(errno)));
}

// An object with the bytes, mapped as the server does.
class PinnedObject final : public RowSource {
 public:
  static absl::StatusOr<std::unique_ptr<PinnedObject>> Create(const std::vector<char>& bytes) {
    std::unique_ptr<PinnedObject> object(new PinnedObject(bytes));
    if (object->file_ < 0) return SystemError("memfd_create");
    if (write(object->file_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      return SystemError("write");
    }
    absl::StatusOr<std::unique_ptr<GuardedMapping>> mapping =
        GuardedMapping::Create(object->file_, 0, bytes.size());
    if (!mapping.ok()) return mapping.status();
    object->mapping_ = *std::move(mapping);
    const bool read_only = PinnedMemory::TakesReadOnly();
    if (!read_only && !object->mapping_->AllowWrites()) return SystemError("mprotect");
    absl::StatusOr<std::unique_ptr<PinnedMemory>> pin =
        PinnedMemory::Pin(object->mapping_->pages(), object->mapping_->page_bytes(), read_only);
    if (!pin.ok()) return absl::UnimplementedError(pin.status().message());
    object->pin_ = *std::move(pin);
    return object;
  }

  PinnedObject(const PinnedObject&) = delete;
  PinnedObject& operator=(const PinnedObject&) = delete;
  ~PinnedObject() override {
    pin_.reset();
    if (file_ >= 0) close(file_);
  }

  absl::Status Cut() const {
    return ftruncate(file_, 0) == 0 ? absl::OkStatus() : SystemError("ftruncate");
  }

  const char* pinned_memory() const override { return mapping_->pages(); }
  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    ++reads_;
    std::memcpy(to, bytes_.data() + offset, size);
    return absl::OkStatus();
  }
  size_t reads() const { return reads_; }

 private:
  explicit PinnedObject(const std::vector<char>& bytes)
      : file_(memfd_create("token-sampler-gpu-check", MFD_CLOEXEC)), bytes_(bytes) {}

  const int file_;
  const std::vector<char> bytes_;
  mutable std::atomic<size_t> reads_{0};
  std::unique_ptr<GuardedMapping> mapping_;
  std::unique_ptr<PinnedMemory> pin_;
};

// One behind the other, every so many bytes.
RowLayout LayOutInTurn(const RowInput& row, size_t count, size_t gap) {
  const size_t stride = ValueBytes(row) + gap;
  RowLayout layout;
  layout.bytes.resize((count - 1) * stride + ValueBytes(row));
  for (size_t i = 0; i < count; ++i) {
    layout.offsets.push_back(i * stride);
    std::memcpy(layout.bytes.data() + i * stride, row.values, ValueBytes(row));
  }
  return layout;
}

absl::StatusOr<std::string> Difference(const std::vector<RowInput>& rows, const RowLayout& layout,
                                       Sampler& cuda, Sampler& cpu) {
  const absl::StatusOr<std::unique_ptr<PinnedObject>> object = PinnedObject::Create(layout.bytes);
  if (!object.ok()) return object.status();
  const std::vector<RowInput> there = RowsIn(**object, rows, layout);
  std::vector<RowResult> expected(rows.size());
  std::vector<RowResult> actual(rows.size());
  std::vector<RowResult> cut(rows.size());
  absl::Status status = cpu.Sample(rows, absl::MakeSpan(expected));
  if (status.ok()) status = cuda.Sample(there, absl::MakeSpan(actual));
  const size_t reads = (*object)->reads();
  if (status.ok()) status = (*object)->Cut();
  if (status.ok()) status = cuda.Sample(there, absl::MakeSpan(cut));
  if (!status.ok()) return status;
  size_t failing = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    failing += HasTokens(expected[i].code) ? 0 : 1;
    const std::string difference = RowDifference(actual[i], expected[i]);
    if (!difference.empty()) return absl::StrCat("differs in ", difference, ": row ", i);
  }
  // The CPU sampler says what is wrong with those that fail.
  return reads <= failing ? "" : absl::StrCat("differs: ", reads - failing, " rows were staged");
}

}  // namespace

absl::StatusOr<std::string> PinnedDifference(Sampler& cuda, Sampler& cpu) {
  RandomBatch batch = MakeRandomBatch(kSeed, kPinnedRows, 5'000);
  LeaveToKernel(kSeed, batch);
  const std::vector<RowInput> any_order = batch.Inputs();
  absl::StatusOr<std::string> difference =
      Difference(any_order, LayOutRows(any_order, kSeed), cuda, cpu);
  // The copies end with the object. CUDA makes small ones with the CPU, as those above, and large
  // ones by DMA, as of these rows together.
  for (const size_t gap : {size_t{0}, size_t{8}, size_t{4096}}) {
    if (!difference.ok() || !difference->empty()) return difference;
    RandomBatch long_row = MakeRandomRow(kSeed, 5'003);
    LeaveToKernel(kSeed, long_row);
    std::vector<RowInput> in_turn(16, long_row.Inputs()[0]);
    for (size_t i = 0; i < in_turn.size(); ++i) in_turn[i].key.seed += i;
    difference = Difference(in_turn, LayOutInTurn(in_turn[0], in_turn.size(), gap), cuda, cpu);
  }
  return difference;
}

}  // namespace token_sampler::testing
