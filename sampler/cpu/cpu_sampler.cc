#include "sampler/cpu/cpu_sampler.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/row_sampler.h"
#include "sampler/cpu/threads/row_threads.h"
#include "sampler/cpu/threads/thread_pool.h"
#include "sampler/cpu/threads/usable_cpus.h"
#include "sampler/reference/pipeline.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/row_source.h"
#include "sampler/rows/row_values.h"

namespace token_sampler {
namespace {

using cpu::Kernels;
using cpu::RowSampler;
using cpu::ThreadPool;

// Aligns values to cache lines: otherwise a vector load could touch two of them.
struct alignas(64) CacheLine {
  char bytes[64];
};

// A workspace is freed after a row of more items (tokens, draws, history) than this: it may have
// grown to tens of bytes per item, and no vocabulary is that long.
constexpr uint64_t kKeptItems = uint64_t{1} << 21;

// The bytes that a thread reads at a time if threads share the reading of a row.
constexpr size_t kSliceBytes = size_t{128} << 10;

class CpuSampler final : public Sampler {
 public:
  // `limit`: what limits the number of threads, for device(); "" if the caller chose it.
  CpuSampler(const Kernels& kernels, int threads, absl::string_view limit)
      : kernels_(kernels), limit_(limit), pool_(threads) {}

  absl::string_view name() const override { return "cpu"; }

  std::string device() const override {
    return absl::StrCat(pool_.threads(), pool_.threads() == 1 ? " thread" : " threads",
                        limit_.empty() ? "" : " by ", limit_, ", ", kernels_.name);
  }

  int rows_at_once() const override { return pool_.threads(); }

  bool samples_on_calling_thread() const override { return true; }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    ThreadPool* slices = rows.size() < static_cast<size_t>(pool_.threads()) ? &pool_ : nullptr;
    std::atomic<size_t> next = 0;
    // Each thread keeps its workspace from row to row, because it is in the thread's cache.
    const auto threads = static_cast<size_t>(pool_.threads());
    const auto sample_rows = [&](size_t) {
      const FreeingPace freeing(rows.empty() ? nullptr : rows.front().pace);
      std::unique_ptr<Workspace> workspace = TakeWorkspace();
      bool kept = true;
      for (size_t i = next++; i < rows.size(); i = next++) {
        RunPaced([&] { SampleRow(rows[i], slices, *workspace, results[i]); },
                 [&] { FailInterrupted(results[i]); });
        kept = kept && Items(rows[i]) <= kKeptItems;
      }
      if (kept) ReturnWorkspace(std::move(workspace));
    };
    const size_t sharing = cpu::ThreadsForRows(rows, threads);
    if (!rows.empty() && rows.front().pace != nullptr) {
      RunOnThreadsOfItsOwn(sharing, sample_rows);
    } else {
      pool_.ForEach(sharing, sample_rows);
    }
    return absl::OkStatus();
  }

 private:
  // The memory for sampling one row at a time.
  struct Workspace {
    explicit Workspace(const Kernels& kernels) : row_sampler(kernels) {}

    RowSampler row_sampler;
    cpu::Buffer<CacheLine> values;
    RowInput loaded;  // the row, with its values in `values`
  };

  static uint64_t Items(const RowInput& row) {
    uint64_t items = static_cast<uint64_t>(row.vocab) + row.params->num_samples;
    if (row.history != nullptr) {
      items += row.history->prompt_ids.size() + row.history->output_ids.size();
    }
    return items;
  }

  // For rows with a pace. They may wait long in it, and would keep threads of the pool from others.
  static void RunOnThreadsOfItsOwn(size_t count, absl::FunctionRef<void(size_t)> body) {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < count; ++i) threads.emplace_back([body, i] { body(i); });
    body(0);
    for (std::thread& thread : threads) thread.join();
  }

  static void SampleRow(const RowInput& row, ThreadPool* slices, Workspace& workspace,
                        RowResult& result) {
    if (row.source == nullptr) {
      SampleLoaded(row, slices, workspace.row_sampler, result);
    } else if (Load(row, slices, workspace, result)) {
      SampleLoaded(workspace.loaded, slices, workspace.row_sampler, result);
    }
  }

  static void SampleLoaded(const RowInput& row, ThreadPool* slices, RowSampler& row_sampler,
                           RowResult& result) {
    // Rows that RowSampler does not take go through the general pipeline, which sorts.
    if (RowSampler::Takes(row)) {
      row_sampler.Sample(row, slices, result);
    } else {
      SampleRowByPipeline(row, result);
    }
  }

  // Reads the row just before it is sampled, so that it is in the cache. False, with the result
  // set, if it cannot be read.
  static bool Load(const RowInput& row, ThreadPool* slices, Workspace& workspace,
                   RowResult& result) {
    const size_t bytes = ValueBytes(row);
    auto* const values =
        reinterpret_cast<char*>(workspace.values.Reserve(bytes / sizeof(CacheLine) + 1)->bytes);
    workspace.loaded = row;
    workspace.loaded.values = values;
    workspace.loaded.source = nullptr;
    if ((slices == nullptr && row.pace == nullptr) || bytes <= kSliceBytes) {
      return ReadValues(row, values, result);
    }
    std::atomic<bool> ok{true};
    const auto read = [&](size_t i) {
      const size_t begin = i * kSliceBytes;
      const size_t size = std::min(kSliceBytes, bytes - begin);
      if (!row.source->Read(row.source_offset + begin, size, values + begin).ok()) ok = false;
    };
    const size_t threads = slices == nullptr ? 1 : static_cast<size_t>(slices->threads());
    InPieces(row.pace, (bytes + kSliceBytes - 1) / kSliceBytes, 4 * threads,
             [&](size_t first, size_t last) {
               if (slices != nullptr) {
                 slices->ForEach(last - first, [&](size_t i) { read(first + i); });
               } else {
                 for (size_t i = first; i < last; ++i) read(i);
               }
             });
    // If that failed, read once more, to report what is wrong.
    return ok || ReadValues(row, values, result);
  }

  std::unique_ptr<Workspace> TakeWorkspace() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Workspace> workspace = std::move(idle_.back());
        idle_.pop_back();
        return workspace;
      }
    }
    return std::make_unique<Workspace>(kernels_);
  }

  void ReturnWorkspace(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

  const Kernels& kernels_;
  const absl::string_view limit_;
  ThreadPool pool_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
};

}  // namespace

std::vector<std::string> CpuSamplerTargets() {
  std::vector<std::string> names;
  for (const Kernels* kernels : cpu::SupportedKernels()) names.emplace_back(kernels->name);
  return names;
}

absl::StatusOr<std::unique_ptr<Sampler>> CreateCpuSampler(const CpuSamplerOptions& options) {
  if (options.threads < 0 || options.threads > kMaxCpuThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be in [0, ", kMaxCpuThreads, "], got ", options.threads));
  }
  cpu::UsableCpus cpus = {.count = options.threads};
  if (options.threads == 0) cpus = cpu::FindUsableCpus();
  const int threads = std::min(cpus.count, kMaxCpuThreads);
  for (const Kernels* kernels : cpu::SupportedKernels()) {
    if (options.target.empty() || options.target == kernels->name) {
      return std::make_unique<CpuSampler>(*kernels, threads, cpus.limit);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("target must be one of ",
                                                 absl::StrJoin(CpuSamplerTargets(), ", "),
                                                 ", got \"", options.target, "\""));
}

}  // namespace token_sampler
