// What a test decides about the emulated machine, and asks of it.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_MACHINE_H_
#define TOKEN_SAMPLER_TESTS_SIMT_MACHINE_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace simt {

struct Device {
  std::string name = "emulated";
  int major = 9;  // compute capability
  int minor = 0;
  int image =
      0;  // what its kernels were compiled for, 80 for compute capability 8.0; 0: the device
  int largest_cluster = 8;  // blocks
  int multiprocessors = 132;
  size_t shared_bytes = size_t{227} << 10;  // most that a block may ask for
  size_t memory_bytes = size_t{1} << 30;    // beyond which cudaMalloc fails
  bool registers_read_only = true;          // host memory that the process may not write
  bool uses_host_page_tables = false;       // and so locks no host memory
  size_t cpu_copy_bytes = size_t{64}
                          << 10;  // of registered memory, copied with the CPU as asked for
  bool shares_memory = true;      // with processes, and registers theirs: gVisor does not
};

// The machine as it is at the start: one device, no error, the order of indices. Streams, events
// and memory that are still there stay.
void ResetMachine();

void SetDevices(std::vector<Device> devices);
void RemoveDriver();

// The order in which threads and clusters run; 0 is that of their indices.
void SetSchedule(uint64_t seed);

// The `call`-th call of the runtime from now on (1 is the next) fails. A sticky error is that of
// every later call too, until ResetMachine.
enum class Fault { kTransient, kSticky };
void FailCall(uint64_t call, cudaError_t error, Fault fault);
bool FaultIsPending();

// What was wrong with the last kernel that failed, or an empty string.
std::string KernelReport();

// Kernels that have run, copies that were put into streams, and what is still allocated or created:
// memory, streams, events, graphs.
uint64_t KernelCount();
uint64_t CopyCount();
size_t LiveObjects();

}  // namespace simt

#endif  // TOKEN_SAMPLER_TESTS_SIMT_MACHINE_H_
