// A mapping of memory that another process may truncate at any time, which the kernel answers with
// SIGBUS: the signal is caught, and the read that met it fails.
//
// It is caught in every thread, whoever reads: a CUDA driver copies a few KiB of page-locked memory
// with the CPU instead of by DMA (seen on an H100 with driver 580), by the page tables of the
// process.
//
// Reading through the descriptor has no signal and takes three times as long as this (4.9 against
// 14.8 GB/s of one thread on an AMD EPYC, Linux 6.18), more than the sampling itself.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_GUARDED_MAPPING_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_GUARDED_MAPPING_H_

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace token_sampler {

// Thread-safe. The first one sets the process's action for SIGBUS; what was set before still gets
// every SIGBUS that is not of a mapping.
class GuardedMapping {
 public:
  // Maps bytes [offset, offset + size) of a file, size > 0, for reading. ResourceExhausted when
  // there is no address space for it.
  static absl::StatusOr<std::unique_ptr<GuardedMapping>> Create(int fd, uint64_t offset,
                                                                uint64_t size);

  ~GuardedMapping();
  GuardedMapping(const GuardedMapping&) = delete;
  GuardedMapping& operator=(const GuardedMapping&) = delete;

  // Lets the process write to the pages, for what locks pages that it may write alone. False when
  // the file was opened for reading.
  bool AllowWrites();

  // Who reads them without Copy may meet zeros instead of the file, from then on.
  const char* pages() const { return pages_; }
  size_t page_bytes() const { return page_bytes_; }
  size_t begin() const { return begin_; }

  // Copies bytes [offset, offset + size) of the mapping. False, for this and every later copy, when
  // some of them were not there any more.
  bool Copy(uint64_t offset, size_t size, char* to);

 private:
  struct Listed;

  GuardedMapping(char* pages, size_t page_bytes, size_t begin);

  static void OnBusError(int signal, siginfo_t* info, void* context);

  // Puts zeros where the file was, so that the read can go on to its end.
  bool Replace();

  char* const pages_;        // whole pages
  const size_t page_bytes_;  // how long they are
  const size_t begin_;       // of byte 0 among them
  Listed& listed_;           // where the signal handler finds this
  std::atomic<bool> broken_{false};
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_GUARDED_MAPPING_H_
