// Rows that are read instead of held in memory.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_MEMORY_SOURCE_H_
#define TOKEN_SAMPLER_TESTS_TESTING_MEMORY_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "sampler/rows/row_source.h"

namespace token_sampler::testing {

// A source of the values of one row, which must outlive it. They begin at byte `begin` of the
// source.
class MemorySource final : public RowSource {
 public:
  MemorySource(const void* values, uint64_t begin)
      : values_(static_cast<const char*>(values)), begin_(begin) {}

  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    std::memcpy(to, values_ + (offset - begin_), size);
    return absl::OkStatus();
  }

  // The row, to be read from this source.
  RowInput Row(RowInput row) const {
    row.values = nullptr;
    row.source = this;
    row.source_offset = begin_;
    return row;
  }

 private:
  const char* const values_;
  const uint64_t begin_;
};

// A source of `size` zero bytes. Reading beyond them fails.
class BrokenSource final : public RowSource {
 public:
  explicit BrokenSource(uint64_t size) : size_(size) {}

  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    if (offset + size > size_) return absl::FailedPreconditionError("the memory went away");
    std::memset(to, 0, size);
    return absl::OkStatus();
  }

 private:
  const uint64_t size_;
};

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_MEMORY_SOURCE_H_
