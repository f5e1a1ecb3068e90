// Runs the threads of a kernel on the host: each is a fiber that runs until it waits for others.
// One cluster of blocks runs at a time, all on the calling thread, so memory needs no atomics. A
// seed decides the order of threads and clusters.
//
// A launch that would hang or be undefined on a device ends with a report: a barrier or warp
// operation that some threads never reach, or that threads reach at different places, and access to
// shared memory of a block that has exited.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_ENGINE_H_
#define TOKEN_SAMPLER_TESTS_SIMT_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace simt {

// The place in the source where a thread waits. A default argument, so that it is the caller's
// place.
struct Place {
  const char* file = "";
  unsigned line = 0;

  static constexpr Place Here(const char* file = __builtin_FILE(),
                              unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

struct Dim {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;

  unsigned Count() const { return x * y * z; }
};

struct LaunchShape {
  Dim grid;                 // blocks
  Dim block;                // threads, at most 1024
  unsigned cluster = 1;     // blocks per cluster, along x; divides grid.x
  size_t shared_bytes = 0;  // per block
};

// Runs `kernel` once per thread. Returns ""; or what went wrong, after giving up the launch. A seed
// of 0 runs threads in the order of indices.
std::string RunKernel(const LaunchShape& shape, uint64_t seed, const std::function<void()>& kernel);

// Ends the launch with a report that begins with the block and the thread.
[[noreturn]] void Fail(const std::string& what);

void* SharedMemory();

// ---- Block ----

struct Votes {
  unsigned count;  // of threads whose predicate is true
  unsigned threads;
};
Votes BlockBarrier(bool predicate, Place place);

// ---- Cluster ----

unsigned ClusterRank();
unsigned ClusterSize();
void ClusterArrive(Place place);
void ClusterWait();
// Returns the same place in the shared memory of another block of the cluster.
void* SharedMemoryOfRank(const void* own, unsigned rank);

// ---- Warp ----

// Gives every lane of `mask` the values of all of them: values[i] is the value of lane i.
struct WarpValues {
  uint64_t values[32];
};
WarpValues ExchangeInWarp(uint32_t mask, uint64_t value, Place place);
unsigned Lane();

}  // namespace simt

// The indices of the running thread.
inline thread_local simt::Dim threadIdx;
inline thread_local simt::Dim blockIdx;
inline thread_local simt::Dim blockDim;
inline thread_local simt::Dim gridDim;

#endif  // TOKEN_SAMPLER_TESTS_SIMT_ENGINE_H_
