// A mapping of memory that another process may truncate at any time. The kernel then raises SIGBUS
// for reads: the signal is caught, and the read fails.
//
// It is caught in every thread, whoever reads: a CUDA driver copies a few KiB of page-locked memory
// with the CPU, through the page tables of the process, instead of by DMA (seen on an H100 with
// driver 580).
//
// Reading through the descriptor raises no signal, but takes three times as long as this (4.9
// against 14.8 GB/s of one thread on an AMD EPYC, Linux 6.18), more than the sampling itself.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_GUARDED_MAPPING_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_GUARDED_MAPPING_H_

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace token_sampler {

// Thread-safe. The first one sets the process's action for SIGBUS. On a SIGBUS outside all mappings
// the action set before takes over.
class GuardedMapping {
 public:
  // Maps bytes [offset, offset + size) of a file, size > 0, for reading. ResourceExhausted when
  // mmap fails.
  static absl::StatusOr<std::unique_ptr<GuardedMapping>> Create(int fd, uint64_t offset,
                                                                uint64_t size);

  ~GuardedMapping();
  GuardedMapping(const GuardedMapping&) = delete;
  GuardedMapping& operator=(const GuardedMapping&) = delete;

  // Lets the process write to the pages, which some ways to lock them require. False when the file
  // was opened only for reading.
  bool AllowWrites();

  // The pages. Reading them without Copy() may yield zeros instead of the file.
  const char* pages() const { return pages_; }
  size_t page_bytes() const { return page_bytes_; }
  size_t begin() const { return begin_; }

  // Copies bytes [offset, offset + size) of the mapping. Returns false, now and for every later
  // copy, if some of the file's pages were gone.
  bool Copy(uint64_t offset, size_t size, char* to);

 private:
  struct Listed;

  GuardedMapping(char* pages, size_t page_bytes, size_t begin);

  static void OnBusError(int signal, siginfo_t* info, void* context);

  // Maps zeros in place of the file, so that the interrupted read can run to its end.
  bool Replace();

  char* const pages_;        // whole pages
  const size_t page_bytes_;  // how long they are
  const size_t begin_;       // of byte 0 among them
  Listed& listed_;           // where the signal handler finds this
  std::atomic<bool> broken_{false};
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_GUARDED_MAPPING_H_
