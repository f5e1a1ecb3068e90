#include "tests/simt/engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <boost/context/detail/fcontext.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "tests/simt/fiber_annotations.h"

namespace simt {
namespace {

namespace context = boost::context::detail;

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr size_t kGuardBytes = size_t{4} << 10;
constexpr unsigned kWarp = 32;
constexpr int kUninitialized = 0xa5;

// Stacks for fibers, each above a protected page. Kept from launch to launch.
class StackPool {
 public:
  char* Bottom(size_t i) {
    while (i >= stacks_.size()) {
      void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) std::abort();
      stacks_.push_back(static_cast<char*>(memory));
    }
    return stacks_[i] + kGuardBytes;
  }
  static constexpr size_t kUsable = kStackBytes - kGuardBytes;

  ~StackPool() {
    for (char* stack : stacks_) munmap(stack, kStackBytes);
  }

 private:
  std::vector<char*> stacks_;
};

enum class State : uint8_t { kReady, kBlockBarrier, kWarpOperation, kClusterBarrier, kDone };

struct Block;

struct Thread {
  Dim position;        // in the block
  Dim block_position;  // of the block in the grid
  Block* block = nullptr;
  unsigned index = 0;  // in the block
  State state = State::kReady;
  Place place = {};    // of the operation for which it waits
  uint32_t mask = 0;   // of the warp operation for which it waits
  uint64_t value = 0;  // its value in that operation
  WarpValues received = {};
  bool arrived = false;  // at the cluster's barrier, but does not wait yet
  uint64_t phase = 0;    // of that barrier
  context::fcontext_t fiber = nullptr;
  char* stack = nullptr;
  void* fake_stack = nullptr;
};

struct Block {
  std::vector<Thread> threads;
  std::unique_ptr<char[]> memory;
  size_t memory_bytes = 0;
  unsigned rank = 0;
  unsigned waiting = 0;  // at the barrier
  unsigned votes = 0;
  Votes result = {};
  unsigned done = 0;
};

const char* NameOf(State state) {
  switch (state) {
    case State::kBlockBarrier:
      return "a barrier of the block";
    case State::kWarpOperation:
      return "a warp operation";
    case State::kClusterBarrier:
      return "a barrier of the cluster";
    default:
      return "nothing";
  }
}

std::string PlaceOf(const Place& place) {
  return std::string(place.file) + ":" + std::to_string(place.line);
}

bool SamePlace(const Place& a, const Place& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string NameOf(const Thread& thread) {
  return "block " + std::to_string(thread.block_position.x) + " thread " +
         std::to_string(thread.index);
}

// Thrown to unwind the thread that failed, within its fiber.
struct Failure {
  std::string what;
};

class Cluster {
 public:
  Cluster(const LaunchShape& shape, StackPool& stacks, const std::function<void()>& kernel)
      : shape_(shape), stacks_(stacks), kernel_(kernel), blocks_(shape.cluster) {}

  // Runs the cluster of blocks from `first` on.
  std::string Run(unsigned first, uint64_t seed);

  Thread& current() { return *current_; }
  Block& BlockOfRank(unsigned rank) { return blocks_[rank]; }
  unsigned size() const { return shape_.cluster; }

  // Lets other threads run until the current one is ready.
  void Wait(State state, Place place);

  void ArriveAtCluster(Place place);
  bool ClusterPassed(uint64_t phase) const { return phase_ > phase; }
  uint64_t phase() const { return phase_; }

 private:
  static void Enter(context::transfer_t from);

  void Prepare(unsigned first);
  void Resume(Thread& thread);
  void Leave(bool forever);
  std::string Deadlock() const;

  const LaunchShape& shape_;
  StackPool& stacks_;
  const std::function<void()>& kernel_;
  std::vector<Block> blocks_;
  Thread* current_ = nullptr;
  context::fcontext_t scheduler_ = nullptr;
  FiberAnnotations annotations_;
  unsigned at_cluster_barrier_ = 0;
  Place cluster_place_ = {};
  uint64_t phase_ = 0;
  std::string report_;
};

thread_local Cluster* running = nullptr;

void Cluster::Enter(context::transfer_t from) {
  Cluster& cluster = *static_cast<Cluster*>(from.data);
  cluster.scheduler_ = from.fctx;
  cluster.annotations_.EnteredFiber(nullptr);
  try {
    cluster.kernel_();
  } catch (const Failure& failure) {
    cluster.report_ = NameOf(*cluster.current_) + ": " + failure.what;
  }
  Thread& thread = *cluster.current_;
  thread.state = State::kDone;
  ++thread.block->done;
  cluster.Leave(true);
}

void Cluster::Leave(bool forever) {
  Thread& thread = *current_;
  annotations_.LeaveFiber(forever ? nullptr : &thread.fake_stack);
  const context::transfer_t from = context::jump_fcontext(scheduler_, this);
  scheduler_ = from.fctx;
  annotations_.EnteredFiber(thread.fake_stack);
}

void Cluster::Resume(Thread& thread) {
  current_ = &thread;
  threadIdx = thread.position;
  blockIdx = thread.block_position;
  blockDim = shape_.block;
  gridDim = shape_.grid;
  annotations_.LeaveScheduler(thread.stack, StackPool::kUsable);
  const context::transfer_t from = context::jump_fcontext(thread.fiber, this);
  thread.fiber = from.fctx;
  annotations_.EnteredScheduler();
}

void Cluster::Prepare(unsigned first) {
  size_t next_stack = 0;
  for (unsigned rank = 0; rank < blocks_.size(); ++rank) {
    Block& block = blocks_[rank];
    block = Block();
    block.rank = rank;
    block.memory_bytes = shape_.shared_bytes;
    block.memory = std::make_unique_for_overwrite<char[]>(std::max<size_t>(block.memory_bytes, 1));
    std::memset(block.memory.get(), kUninitialized, block.memory_bytes);
    block.threads.resize(shape_.block.Count());
    for (unsigned i = 0; i < block.threads.size(); ++i) {
      Thread& thread = block.threads[i];
      thread.block = &block;
      thread.index = i;
      const Dim& dim = shape_.block;
      thread.position = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
      thread.block_position = {(first + rank) % shape_.grid.x, (first + rank) / shape_.grid.x, 0};
      thread.stack = stacks_.Bottom(next_stack++);
      annotations_.Unpoison(thread.stack, StackPool::kUsable);
      thread.fiber =
          context::make_fcontext(thread.stack + StackPool::kUsable, StackPool::kUsable, Enter);
    }
  }
}

std::string Cluster::Run(unsigned first, uint64_t seed) {
  Prepare(first);
  std::vector<Thread*> order;
  for (Block& block : blocks_) {
    for (Thread& thread : block.threads) order.push_back(&thread);
  }
  if (seed != 0) std::shuffle(order.begin(), order.end(), std::mt19937_64(seed + first));
  Cluster* const outer = running;
  running = this;
  bool progress = true;
  while (progress && report_.empty()) {
    progress = false;
    for (Thread* thread : order) {
      if (thread->state != State::kReady) continue;
      progress = true;
      Resume(*thread);
      if (!report_.empty()) break;
    }
  }
  running = outer;
  return report_.empty() ? Deadlock() : report_;
}

std::string Cluster::Deadlock() const {
  const Thread* waiting = nullptr;
  const Thread* missing = nullptr;
  for (const Block& block : blocks_) {
    for (const Thread& thread : block.threads) {
      if (thread.state == State::kDone) continue;
      if (waiting == nullptr) waiting = &thread;
    }
  }
  if (waiting == nullptr) return "";
  for (const Block& block : blocks_) {
    const bool counts = waiting->state == State::kClusterBarrier || &block == waiting->block;
    for (const Thread& thread : block.threads) {
      if (!counts || missing != nullptr) continue;
      const unsigned lane = thread.index % kWarp;
      const bool in_warp =
          thread.index / kWarp == waiting->index / kWarp && (waiting->mask >> lane & 1) != 0;
      if (waiting->state == State::kWarpOperation && !in_warp) continue;
      if (thread.state != waiting->state) missing = &thread;
    }
  }
  std::string report = NameOf(*waiting) + " waits at " + NameOf(waiting->state) + " (" +
                       PlaceOf(waiting->place) + ")";
  if (missing == nullptr) return report + " that others never reach";
  report += ", which " + NameOf(*missing) + " never reaches: it ";
  if (missing->state == State::kDone) return report + "has exited";
  return report + "waits at " + NameOf(missing->state) + " (" + PlaceOf(missing->place) + ")";
}

void Cluster::Wait(State state, Place place) {
  current_->state = state;
  current_->place = place;
  Leave(false);
}

void Cluster::ArriveAtCluster(Place place) {
  if (at_cluster_barrier_ == 0) {
    cluster_place_ = place;
  } else if (!SamePlace(cluster_place_, place)) {
    simt::Fail("reaches the cluster's barrier at " + PlaceOf(place) + ", others at " +
               PlaceOf(cluster_place_));
  }
  if (++at_cluster_barrier_ < shape_.cluster * shape_.block.Count()) return;
  at_cluster_barrier_ = 0;
  ++phase_;
  for (Block& block : blocks_) {
    for (Thread& thread : block.threads) {
      if (thread.state == State::kClusterBarrier) thread.state = State::kReady;
    }
  }
}

}  // namespace

std::string RunKernel(const LaunchShape& shape, uint64_t seed,
                      const std::function<void()>& kernel) {
  thread_local StackPool stacks;
  std::vector<unsigned> firsts;
  for (unsigned first = 0; first < shape.grid.Count(); first += shape.cluster) {
    firsts.push_back(first);
  }
  if (seed != 0) std::shuffle(firsts.begin(), firsts.end(), std::mt19937_64(seed));
  for (const unsigned first : firsts) {
    Cluster cluster(shape, stacks, kernel);
    if (std::string report = cluster.Run(first, seed); !report.empty()) return report;
  }
  return "";
}

void Fail(const std::string& what) { throw Failure{what}; }
void* SharedMemory() { return running->current().block->memory.get(); }
unsigned Lane() { return running->current().index % kWarp; }

Votes BlockBarrier(bool predicate, Place place) {
  Thread& self = running->current();
  Block& block = *self.block;
  block.votes += predicate ? 1 : 0;
  if (++block.waiting < block.threads.size()) {
    running->Wait(State::kBlockBarrier, place);
    return block.result;
  }
  const auto threads = static_cast<unsigned>(block.threads.size());
  block.result = {block.votes, threads};
  block.waiting = 0;
  block.votes = 0;
  for (Thread& thread : block.threads) {
    if (&thread == &self) continue;
    if (!SamePlace(thread.place, place)) {
      Fail("reaches the block's barrier at " + PlaceOf(place) + ", thread " +
           std::to_string(thread.index) + " at " + PlaceOf(thread.place));
    }
    thread.state = State::kReady;
  }
  return block.result;
}

unsigned ClusterRank() { return running->current().block->rank; }
unsigned ClusterSize() { return running->size(); }

void ClusterArrive(Place place) {
  Thread& self = running->current();
  if (self.arrived) Fail("arrives at the cluster's barrier twice without waiting");
  self.arrived = true;
  self.phase = running->phase();
  self.place = place;
  running->ArriveAtCluster(place);
}

void ClusterWait() {
  Thread& self = running->current();
  if (!self.arrived) Fail("waits for the cluster's barrier without having arrived");
  if (!running->ClusterPassed(self.phase)) running->Wait(State::kClusterBarrier, self.place);
  self.arrived = false;
}

void* SharedMemoryOfRank(const void* own, unsigned rank) {
  const Block& block = *running->current().block;
  const auto* byte = static_cast<const char*>(own);
  if (byte < block.memory.get() || byte >= block.memory.get() + block.memory_bytes) {
    Fail("maps an address that is not in its block's shared memory");
  }
  if (rank >= running->size()) {
    Fail("maps shared memory of rank " + std::to_string(rank) + " in a cluster of " +
         std::to_string(running->size()));
  }
  Block& other = running->BlockOfRank(rank);
  if (other.done > 0) {
    Fail("maps shared memory of rank " + std::to_string(rank) + ", which has threads that exited");
  }
  return other.memory.get() + (byte - block.memory.get());
}

WarpValues ExchangeInWarp(uint32_t mask, uint64_t value, Place place) {
  Thread& self = running->current();
  const unsigned lane = self.index % kWarp;
  if ((mask >> lane & 1) == 0) {
    Fail("is not in the mask of its own warp operation (" + PlaceOf(place) + ")");
  }
  std::vector<Thread>& threads = self.block->threads;
  Thread* const warp = &threads[self.index - lane];
  const auto in_block = static_cast<unsigned>(threads.size() - (self.index - lane));
  if (in_block < kWarp && (mask >> in_block) != 0) {
    Fail("names lanes beyond the block in the mask of a warp operation (" + PlaceOf(place) + ")");
  }
  self.value = value;
  self.mask = mask;
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0 || i == lane) continue;
    if (warp[i].state != State::kWarpOperation) {
      running->Wait(State::kWarpOperation, place);
      return self.received;
    }
    if (warp[i].mask != mask || !SamePlace(warp[i].place, place)) {
      Fail("does a warp operation at " + PlaceOf(place) + ", lane " + std::to_string(i) +
           " another, at " + PlaceOf(warp[i].place));
    }
  }
  WarpValues all = {};
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) != 0) all.values[i] = warp[i].value;
  }
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0 || i == lane) continue;
    warp[i].received = all;
    warp[i].state = State::kReady;
  }
  return all;
}

}  // namespace simt
