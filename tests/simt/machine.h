// Lets a test configure and query the emulated machine.

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
      0;  // for which its kernels were compiled, 80 for compute capability 8.0; 0: for the device
  int largest_cluster = 8;  // blocks
  int multiprocessors = 132;
  size_t shared_bytes = size_t{227} << 10;   // the most for a block
  size_t memory_bytes = size_t{1} << 30;     // beyond which cudaMalloc fails
  bool registers_read_only = true;           // host memory that the process can only read
  bool uses_host_page_tables = false;        // true: locks no host memory
  size_t cpu_copy_bytes = size_t{64} << 10;  // up to which copies of registered memory are made at
                                             // once, with the CPU
  bool shares_memory = true;  // false: cannot share memory with processes or register theirs,
                              // as under gVisor
};

// Resets the machine to its initial state: one device, no error, threads in the order of indices.
// Existing streams, events and memory stay.
void ResetMachine();

void SetDevices(std::vector<Device> devices);
void RemoveDriver();

// Sets the order in which threads and clusters run; 0 is that of their indices.
void SetSchedule(uint64_t seed);

// Makes the `call`-th call of the runtime from now on (1 is the next) fail. With a sticky error
// every later call fails too, until ResetMachine.
enum class Fault { kTransient, kSticky };
void FailCall(uint64_t call, cudaError_t error, Fault fault);
bool FaultIsPending();

// Returns what was wrong with the last kernel that failed; "" if none did.
std::string KernelReport();

// Return the numbers of kernels that have run, of copies that were put into streams, and of objects
// that still exist: memory, streams, events, graphs.
uint64_t KernelCount();
uint64_t CopyCount();
size_t LiveObjects();

}  // namespace simt

#endif  // TOKEN_SAMPLER_TESTS_SIMT_MACHINE_H_
