// A cluster reads its row once, into the shared memory of its blocks. A filter keeps a prefix of
// the order of SPEC.md §3, so the least key that is left describes what is left of the row;
// histograms find it. When at most kMaxListed tokens are left, they are listed, and one block
// finishes the row. If a small top-k comes first, that happens at once, because the greatest keys
// that the threads found while they read the row bound it.

#include "cuda/kernel/bin_of_key.cuh"
#include "cuda/kernel/block_memory.cuh"
#include "cuda/kernel/cluster.cuh"
#include "cuda/kernel/histogram.cuh"
#include "cuda/kernel/leads.cuh"
#include "cuda/kernel/listed_row.cuh"
#include "cuda/kernel/row_part.cuh"
#include "cuda/kernel/sample_rows.h"
#include "cuda/kernel/shared_memory.cuh"
#include "cuda/kernel/tuning.h"
#include "cuda/kernel/weigher.cuh"

namespace token_sampler::cuda {
namespace {

// Returns the least key above those of impossible values, which can never be drawn.
__device__ uint64_t LeastDrawableKey(const RowJob& job) {
  return OrderKey(job.is_logits ? -INFINITY : 0.0f, 0) + 1;
}

// Returns the top-k for which a bound is needed before any stage; 0: none.
__device__ uint32_t TopKToList(const RowJob& job) {
  return job.top_k_first && job.top_k <= kMaxListed / 2 ? job.top_k : 0;
}

// The sums of a thread or block in the pass of NarrowByGuess.
struct PassSums {
  uint64_t kept;    // the mass of tokens that are certainly kept
  uint64_t listed;  // of listed tokens
  uint64_t all;     // of all tokens that are left
  uint32_t num_listed;
};

template <typename Part>
class RowOnCluster {
 public:
  __device__ RowOnCluster(const RowJob& job, BlockMemory& memory, uint64_t first_key,
                          const Part& part, Exchange& exchange)
      : job_(job),
        memory_(memory),
        part_(part),
        exchange_(exchange),
        first_token_(TokenOfOrderKey(first_key)),
        weigh_(memory, FromOrderedBits(static_cast<uint32_t>(first_key >> 32))),
        least_key_(LeastDrawableKey(job)) {}

  // Writes draws to tokens[job.first_token ..]. `bound` is that of Leads, and `greatest` the
  // ordered bits of the greatest value that this thread read. When a block returns, no other block
  // needs its memory any more.
  __device__ void Sample(uint32_t bound, uint32_t greatest, uint32_t* tokens) {
    if (job_.greedy) {
      TakeFirst(tokens);
      return;
    }
    if (bound > 0) {
      const uint32_t listed = ListFrom(bound, greatest);
      if (listed > 0) {
        EndListed(0, listed, tokens);
        return;
      }
    }
    for (int i = 0; i < RowJob::kMaxStages && job_.stages[i] != JobStage::kNone; ++i) {
      const JobStage stage = job_.stages[i];
      if (stage == JobStage::kTemperature) {
        weigh_.SetTemperature();
      } else if (stage == JobStage::kMinP) {
        KeepMinP();
      } else {
        if (stage == JobStage::kTopP && job_.is_logits) {
          uint64_t mass = 0;
          if (NarrowByGuess(mass)) {
            if (i + 1 < RowJob::kMaxStages && job_.stages[i + 1] != JobStage::kNone) continue;
            Draw(mass, tokens);
            return;
          }
        }
        const uint32_t listed = Narrow(stage);
        if (listed > 0) {
          EndListed(i + 1, listed, tokens);
          return;
        }
      }
    }
    Draw(MassOfRun(), tokens);
  }

 private:
  __device__ void TakeFirst(uint32_t* tokens) const {
    if (ClusterRank() != 0) return;
#pragma unroll 1
    for (uint32_t draw = threadIdx.x; draw < job_.num_samples; draw += kThreads) {
      tokens[job_.first_token + draw] = first_token_;
    }
  }

  // Weights are not strictly monotone in the order: the prefix ends before the first token that
  // fails.
  __device__ void KeepMinP() {
    const uint64_t threshold = CeilFraction(job_.min_p, weigh_.OfFirst());
    const SureDifferences sure = weigh_.Sure(threshold);
    uint64_t failing = 0;
    part_.ForEach([&](uint32_t index, float value) {
      const float difference = value - weigh_.first();
      if (difference > sure.at_or_above) return;
      const uint64_t key = OrderKey(value, part_.TokenAt(index));
      if (key < least_key_ || key <= failing) return;
      if (difference < sure.below || weigh_(value) < threshold) failing = key;
    });
    failing = ClusterReduce(memory_, exchange_, failing, Max());
    if (failing >= least_key_) least_key_ = failing + 1;
  }

  // Applies top-k or top-p. If the tokens that are left are in memory_.sorted of rank 0, returns
  // their number in rank 0, and any other number than 0 in other blocks. Returns 0 if least_key_
  // has the result.
  __device__ uint32_t Narrow(JobStage stage) {
    const bool by_mass = stage == JobStage::kTopP;
    // The same for all threads, so it need not take registers.
    Narrowing& narrowing = memory_.narrowing;
    if (threadIdx.x == 0) {
      narrowing = {
          Binning::ByValue(least_key_, weigh_.first(), weigh_.BinsPerValue(kBins)), {0, 0}, 0};
    }
    while (true) {
      weigh_.Apply([&](auto weigh) { FillBins(part_, weigh, by_mass, memory_); });
      const Portion before = narrowing.before;
      uint64_t target = narrowing.target;
      BinSums sums(memory_, exchange_, by_mass ? BinMass::kSummed : BinMass::kNone);
      const bool is_first = target == 0;
      if (is_first) {
        target = by_mass ? CeilFraction(job_.top_p, sums.total().mass) : job_.top_k;
        if (target == 0) target = 1;
        if (!by_mass && sums.total().count <= target) return 0;
      }
      const FoundBin& found = sums.Find(target - (by_mass ? before.mass : before.count), by_mass);
      if (before.count + found.before.count + found.inside.count <= kMaxListed) {
        const uint32_t count = List(narrowing.binning, 0, found.bin, true, false);
        if (ClusterRank() != 0) return 1;
        SortListed(count, memory_);
        return by_mass ? PrefixOfMass(target, count, weigh_, memory_)
                       : static_cast<uint32_t>(target);
      }
      const Portion up_to = {before.count + found.before.count, before.mass + found.before.mass};
      if (found.inside.count <= kMaxListed) {
        const uint32_t count = List(narrowing.binning, found.bin, found.bin, false, true);
        SortListed(count, memory_);
        const uint32_t kept = by_mass ? PrefixOfMass(target - up_to.mass, count, weigh_, memory_)
                                      : static_cast<uint32_t>(target - up_to.count);
        least_key_ = memory_.sorted[kept - 1];
        return 0;
      }
      if (threadIdx.x == 0) {
        narrowing.before = up_to;
        narrowing.target = target;
      }
      const Binning next =
          is_first ? KeysOf(narrowing.binning, found.bin) : narrowing.binning.Within(found.bin);
      __syncthreads();
      if (threadIdx.x == 0) narrowing.binning = next;
    }
  }

  // Applies top-p with only one pass that weighs. Guesses from a count of the row between which
  // tokens it ends; the pass lists these, and sums the others exactly. Returns true if it ended
  // there: then least_key_ has the result, and `mass` is the mass that is left of this thread's
  // run.
  __device__ bool NarrowByGuess(uint64_t& mass) {
    const Binning binning =
        Binning::ByValue(least_key_, weigh_.first(), weigh_.BinsPerValue(kBins));
    CountBins(part_, FromOrderedBits(static_cast<uint32_t>(least_key_ >> 32)), binning, memory_);
    BinSums sums(memory_, exchange_, BinMass::kGuessed);
    const uint64_t guessed = CeilFraction(job_.top_p, sums.total().mass);
    const FoundBin& guess = sums.Find(guessed > 0 ? guessed : 1, true);
    if (guess.inside.count > kMaxListed / 3) return false;
    // The bins on each side of the guess to list: they have few tokens, and those that the guess
    // may have missed.
    const uint32_t around = 1 + kMaxListed / 8 / guess.inside.count;
    // Tokens nearer to the first value than `sure` are all kept, and from `beyond` on none is.
    const float sure = static_cast<float>(guess.bin) - static_cast<float>(around);
    const float beyond = static_cast<float>(guess.bin + around + 1);
    const PassSums own =
        AllAreLeft() ? SumRun<true>(binning, sure, beyond) : SumRun<false>(binning, sure, beyond);
    const PassSums here = {BlockReduce(memory_, own.kept, Sum()),
                           BlockReduce(memory_, own.listed, Sum()),
                           BlockReduce(memory_, own.all, Sum()), 0};
    exchange_.Publish([&] {
      return PassSums{here.kept, here.listed, here.all, memory_.num_listed};
    });
    const auto of_rank = exchange_.template OfLane<PassSums>();
    const uint64_t sure_mass = ReduceRanks(of_rank.kept, Sum());
    const uint64_t listed_mass = ReduceRanks(of_rank.listed, Sum());
    uint64_t target = CeilFraction(job_.top_p, ReduceRanks(of_rank.all, Sum()));
    if (target == 0) target = 1;
    const uint32_t num_listed = ReduceRanks(of_rank.num_listed, Sum());
    if (num_listed > kMaxListed || target <= sure_mass || target - sure_mass > listed_mass) {
      return false;
    }
    SendListed(of_rank.num_listed, num_listed, true, memory_, exchange_);
    least_key_ = BoundaryOfMass(target - sure_mass, num_listed, weigh_, memory_, exchange_);
    if (threadIdx.x < memory_.num_listed) {
      const uint64_t key = memory_.listed[threadIdx.x];
      if (key >= least_key_) {
        AddMass(weigh_.OfKey(key), (TokenOfOrderKey(key) - part_.TokenAt(0)) / RunLength(),
                memory_);
      }
    }
    __syncthreads();
    mass = own.kept + MassOf(threadIdx.x, memory_);
    return true;
  }

  // Returns the sums of this thread's run, and lists its tokens at a distance in [sure, beyond).
  template <bool kAllAreLeft>
  __device__ PassSums SumRun(const Binning& binning, float sure, float beyond) {
    const Run run = RunOfThread();
    const LogitWeights weigh = weigh_.OfLogits();
    PassSums sums = {0, 0, 0, 0};
#pragma unroll 4
    for (uint32_t i = run.begin; i < run.end; ++i) {
      const float value = part_.ValueAt(i);
      const bool is_left = kAllAreLeft || IsLeft(i, value);
      const uint64_t weight = weigh(is_left ? value : part_.banned());
      const float distance = binning.Distance(value);
      sums.all += weight;
      sums.kept += distance < sure ? weight : 0;
      if (is_left & (distance >= sure) & (distance < beyond)) {
        sums.listed += weight;
        Append(OrderKey(value, part_.TokenAt(i)));
      }
    }
    return sums;
  }

  // Lists the tokens that reach the value with the ordered bits `bound`. `greatest` are the bits of
  // the greatest value that this thread has read. Few threads have read one that reaches the bound,
  // so the warp reads only their tokens again. Returns like Narrow; 0 if more than kMaxListed
  // tokens reach it.
  __device__ uint32_t ListFrom(uint32_t bound, uint32_t greatest) {
    uint32_t reaching = __ballot_sync(kAllLanes, greatest >= bound ? 1 : 0);
    while (reaching != 0) {
      const auto lane = static_cast<uint32_t>(__ffs(static_cast<int>(reaching)) - 1);
      reaching &= reaching - 1;
      part_.ForEachReadBy(WarpOfThread() * kWarp + lane, job_.num_edits > 0,
                          [&](uint32_t index, float value) {
                            const uint64_t key = OrderKey(value, part_.TokenAt(index));
                            if (key >= least_key_ && key >> 32 >= bound) Append(key);
                          });
    }
    const uint32_t count = GatherListed(false, memory_, exchange_);
    if (count > kMaxListed) return 0;
    if (ClusterRank() == 0) SortListed(count, memory_);
    return count;
  }

  // Appends to the list of this block, as long as it has room.
  __device__ void Append(uint64_t key) {
    const uint32_t place = atomicAdd(&memory_.num_listed, 1u);
    if (place < kMaxListed) memory_.listed[place] = key;
  }

  // Lists the tokens of bins [first, last] and, if `with_greater`, all tokens before the first key
  // of `binning`. Returns the number of all listed tokens, like GatherListed.
  __device__ uint32_t List(const Binning binning, uint32_t first, uint32_t last, bool with_greater,
                           bool to_all) {
    const float most = with_greater ? INFINITY : binning.Above(first);
    part_.ForEachWithin(binning.Below(last), most, [&](uint32_t index, float value) {
      const uint64_t key = OrderKey(value, part_.TokenAt(index));
      bool listed = with_greater && key > binning.high;
      if (binning.Holds(key)) {
        const uint32_t bin = binning.BinOf(key, value);
        listed = bin >= first && bin <= last;
      }
      if (listed) Append(key);
    });
    return GatherListed(to_all, memory_, exchange_);
  }

  // Returns bins of the keys in one bin by value.
  __device__ Binning KeysOf(const Binning binning, uint32_t bin) {
    uint64_t least = ~uint64_t{0};
    uint64_t greatest = 0;
    part_.ForEachWithin(binning.Below(bin), binning.Above(bin), [&](uint32_t index, float value) {
      const uint64_t key = OrderKey(value, part_.TokenAt(index));
      if (!binning.Holds(key) || binning.BinOf(key, value) != bin) return;
      if (key < least) least = key;
      if (key > greatest) greatest = key;
    });
    least = ClusterReduce(memory_, exchange_, least, Min());
    greatest = ClusterReduce(memory_, exchange_, greatest, Max());
    return Binning::ByKey(least, greatest);
  }

  // Lets rank 0, which has the sorted list, finish the row.
  __device__ void EndListed(int stage, uint32_t count, uint32_t* tokens) {
    if (ClusterRank() != 0) return;
    ListedRow(job_, count, weigh_, memory_).End(stage, tokens + job_.first_token);
  }

  // Compares values and ids, because making keys takes longer.
  __device__ bool IsLeft(uint32_t index, float value) const {
    const float least = FromOrderedBits(static_cast<uint32_t>(least_key_ >> 32));
    // No branch, because this runs for every token.
    return (value > least) |
           ((value == least) & (part_.TokenAt(index) <= TokenOfOrderKey(least_key_)));
  }

  // True if no stage has removed a token yet. Then loops need no IsLeft: a banned token has the
  // weight 0 in any case.
  __device__ bool AllAreLeft() const { return least_key_ == LeastDrawableKey(job_); }

  // Returns the weight of a token in the draw.
  template <bool kAllAreLeft, typename Weigh>
  __device__ uint64_t MassAt(uint32_t index, const Weigh& weigh) const {
    const float value = part_.ValueAt(index);
    // A banned token has the weight 0.
    return weigh(kAllAreLeft || IsLeft(index, value) ? value : part_.banned());
  }

  // The neighbouring tokens that one thread sums.
  struct Run {
    uint32_t begin;
    uint32_t end;
  };
  // Is odd, so that the threads of a warp read different banks.
  __device__ uint32_t RunLength() const { return (part_.size() + kThreads - 1) / kThreads | 1; }
  __device__ Run RunOfThread() const {
    const uint32_t begin = threadIdx.x * RunLength();
    const uint32_t end = begin + RunLength();
    return {begin, end < part_.size() ? end : part_.size()};
  }

  // Returns the mass that is left of this thread's run.
  __device__ uint64_t MassOfRun() const {
    return weigh_.Apply([&](auto weigh) {
      return AllAreLeft() ? MassOfRun<true>(weigh) : MassOfRun<false>(weigh);
    });
  }
  template <bool kAllAreLeft, typename Weigh>
  __device__ uint64_t MassOfRun(const Weigh& weigh) const {
    const Run run = RunOfThread();
    uint64_t sum = 0;
#pragma unroll 4
    for (uint32_t i = run.begin; i < run.end; ++i) sum += MassAt<kAllAreLeft>(i, weigh);
    return sum;
  }

  // `mass` is the mass of the thread's run. The warp that has the target walks through its run.
  __device__ void Draw(uint64_t mass, uint32_t* tokens) {
    const BlockSums<uint64_t> sums(memory_, mass);
    exchange_.Publish([&] { return sums.total; });
    const auto of_rank = exchange_.template OfLane<uint64_t>();
    const uint64_t before = SumOfLowerRanks(of_rank) + sums.before;
    const uint64_t total = ReduceRanks(of_rank, Sum());
#pragma unroll 1
    for (uint32_t draw = 0; draw < job_.num_samples; ++draw) {
      const uint64_t target = ScaleUniform(UniformOf(memory_, draw), total);
      const bool is_here = before <= target && target - before < mass;
      const uint32_t where = __ballot_sync(kAllLanes, is_here ? 1 : 0);
      if (where == 0) continue;
      const int lane = __ffs(static_cast<int>(where)) - 1;
      const Run run = RunOfThread();
      Walk(__shfl_sync(kAllLanes, run.begin, lane), __shfl_sync(kAllLanes, run.end, lane),
           __shfl_sync(kAllLanes, target - before, lane), &tokens[job_.first_token + draw]);
    }
  }

  // Finds the first token of [begin, end) at which the running sum exceeds `target`. A whole warp
  // calls it.
  __device__ void Walk(uint32_t begin, uint32_t end, uint64_t target, uint32_t* token) const {
#pragma unroll 1
    for (uint32_t base = begin; base < end; base += kWarp) {
      const uint32_t index = base + LaneOfThread();
      uint64_t sum = index < end ? MassAt<false>(index, weigh_) : 0;
      for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
        const uint64_t lower = __shfl_up_sync(kAllLanes, sum, distance);
        if (LaneOfThread() >= distance) sum += lower;
      }
      const uint32_t beyond = __ballot_sync(kAllLanes, sum > target ? 1 : 0);
      if (beyond != 0) {
        if (static_cast<int>(LaneOfThread()) + 1 == __ffs(static_cast<int>(beyond))) {
          *token = part_.TokenAt(index);
        }
        return;
      }
      target -= __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
  }

  const RowJob& job_;
  BlockMemory& memory_;
  const Part& part_;
  Exchange& exchange_;
  const uint32_t first_token_;  // the first of the order
  Weigher weigh_;
  uint64_t least_key_;  // tokens with this key or a greater one are left
};

template <bool kInShared>
__global__ void __launch_bounds__(kThreads, kInShared ? kBlocksPerMultiprocessor : 1)
    SampleRows(const RowJob* jobs, uint32_t* tokens, JobStatus* statuses) {
  const uint32_t row = blockIdx.x / ClusterBlocks();
  auto& memory = *static_cast<BlockMemory*>(DynamicSharedMemory());
  if (threadIdx.x == 0) {
    memory.num_listed = 0;
    OpenInboxes(memory);
  }
  ClusterArrive();
  const RowJob& job = CopyJob(jobs[row], memory);
  RowPart<kInShared> part(job);
  Exchange exchange(memory);
  uint64_t greatest = part.Load();
  if (job.num_edits > 0) greatest = kInShared ? part.Edit(job, greatest) : kInvalidKey;
  // From now on all blocks run and can receive words.
  ClusterWait();
  const Leads leads = FindLeads(memory, exchange, greatest, TopKToList(job));
  const bool failed = leads.first_key == kInvalidKey || leads.first_key < LeastDrawableKey(job);
  if (!failed) {
    RowOnCluster(job, memory, leads.first_key, part, exchange)
        .Sample(leads.bound, static_cast<uint32_t>(greatest >> 32), tokens);
  }
  if (ClusterRank() == 0 && threadIdx.x == 0) {
    statuses[row] = failed ? JobStatus::kFailed : JobStatus::kDrawn;
  }
}

size_t SharedBytes(uint32_t part) {
  return sizeof(BlockMemory) + SharedFloats(part) * sizeof(float);
}

struct Launch {
  Launch(uint32_t rows, const LaunchShape& shape) {
    config.gridDim = dim3(rows * shape.cluster_blocks);
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = shape.shared_bytes;
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {shape.cluster_blocks, 1, 1};
    config.attrs = &cluster;
    // One block needs no cluster, which devices before sm_90 do not have.
    config.numAttrs = shape.cluster_blocks > 1 ? 1 : 0;
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute cluster = {};
};

// Returns the number of blocks of the largest cluster that the current device can run with
// `shared_bytes` of shared memory per block.
uint32_t LargestCluster(size_t shared_bytes) {
  for (uint32_t blocks = kMaxClusterBlocks; blocks > 1; blocks /= 2) {
    const Launch launch(1, {blocks, true, shared_bytes});
    int clusters = 0;
    const cudaError_t error =
        cudaOccupancyMaxActiveClusters(&clusters, SampleRows<true>, &launch.config);
    if (error == cudaSuccess && clusters > 0) return blocks;
    // Clear the error, so that no later call reports it.
    static_cast<void>(cudaGetLastError());
  }
  return 1;
}

}  // namespace

LaunchShape ChooseShape(const DeviceTraits& device, uint32_t rows, uint32_t max_vocab) {
  const auto bytes = [&](uint32_t blocks) { return SharedBytes(PartSize(max_vocab, blocks)); };
  const auto fits = [&](uint32_t blocks) { return bytes(blocks) <= device.max_shared_bytes; };
  const auto pairs = [&](uint32_t blocks) { return bytes(blocks) <= device.paired_shared_bytes; };
  const auto divides = [&](uint32_t blocks) {
    if (max_vocab / blocks <= kLeastPart) return false;
    const bool few = rows * blocks * 2 <= device.num_sms;
    const bool many = rows * blocks > device.num_sms;
    return few || (many && !pairs(blocks) && pairs(device.max_cluster_blocks));
  };
  uint32_t blocks = 1;
  while (blocks < device.max_cluster_blocks && (!fits(blocks) || divides(blocks))) blocks *= 2;
  if (!fits(blocks)) return {blocks, false, sizeof(BlockMemory)};
  return {blocks, true, bytes(blocks)};
}

cudaError_t PrepareSampleRows(DeviceTraits& traits) {
  int device = 0;
  int num_sms = 0;
  int shared_bytes = 0;
  int sm_shared_bytes = 0;
  int reserved_bytes = 0;
  int has_clusters = 0;
  cudaFuncAttributes loaded = {};
  for (const cudaError_t error :
       {cudaGetDevice(&device),
        cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device),
        cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        cudaDeviceGetAttribute(&sm_shared_bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor,
                               device),
        cudaDeviceGetAttribute(&reserved_bytes, cudaDevAttrReservedSharedMemoryPerBlock, device),
        cudaDeviceGetAttribute(&has_clusters, cudaDevAttrClusterLaunch, device),
        cudaFuncGetAttributes(&loaded, SampleRows<true>),
        cudaFuncSetAttribute(SampleRows<true>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared_bytes)}) {
    if (error != cudaSuccess) return error;
  }
  traits = {1, static_cast<uint32_t>(num_sms), static_cast<size_t>(shared_bytes),
            static_cast<size_t>(sm_shared_bytes / 2 - reserved_bytes)};
  // Code for devices before sm_90 treats each block as a cluster of its own, on any device.
  constexpr int kFirstWithClusters = 90;
  if (has_clusters != 0 && loaded.ptxVersion >= kFirstWithClusters &&
      loaded.binaryVersion >= kFirstWithClusters) {
    traits.max_cluster_blocks = LargestCluster(traits.max_shared_bytes);
  }
  return cudaSuccess;
}

cudaError_t LaunchSampleRows(const RowJob* jobs, uint32_t rows, const LaunchShape& shape,
                             uint32_t* tokens, JobStatus* statuses, cudaStream_t stream) {
  Launch launch(rows, shape);
  launch.config.stream = stream;
  return cudaLaunchKernelEx(&launch.config,
                            shape.values_in_shared ? SampleRows<true> : SampleRows<false>, jobs,
                            tokens, statuses);
}

}  // namespace token_sampler::cuda
