// A block's part of a row. If it fits into shared memory, it is read from device memory once.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_ROW_PART_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_ROW_PART_H_

#include <cuda_runtime.h>

#include <cfloat>
#include <cstdint>

#include "cuda/kernel/block_memory.cuh"
#include "cuda/kernel/cluster.cuh"
#include "cuda/kernel/row_job.h"
#include "cuda/kernel/shared_memory.cuh"
#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/host_device.h"
#include "sampler/arithmetic/token_order.h"

namespace token_sampler::cuda {

// Returns the tokens per block: a multiple of what a vector load reads, so that every part is
// aligned if the row is.
TOKEN_SAMPLER_HOST_DEVICE constexpr uint32_t PartSize(uint32_t vocab, uint32_t cluster_blocks) {
  constexpr uint32_t kMultiple = 8;
  const uint32_t even = (vocab + cluster_blocks - 1) / cluster_blocks;
  return (even + kMultiple - 1) / kMultiple * kMultiple;
}

// Returns the floats of shared memory for a part in whole vectors, wherever in the first vector it
// begins.
constexpr uint32_t SharedFloats(uint32_t part) { return part + 4; }

// The order key that represents an invalid value. No token has it: its value would be NaN.
inline constexpr uint64_t kInvalidKey = ~uint64_t{0};

// Unpacks the elements of a loaded vector.
struct Float32Vector {
  using Element = float;
  static constexpr uint32_t kElements = 4;
  __device__ static float Widen(float element) { return element; }
  __device__ static void Unpack(uint4 words, float* to) {
    to[0] = __uint_as_float(words.x);
    to[1] = __uint_as_float(words.y);
    to[2] = __uint_as_float(words.z);
    to[3] = __uint_as_float(words.w);
  }
};

// Uses the device's instruction for this.
__device__ inline float WidenOnDevice(uint16_t bits) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
#else
  return WidenFloat16(bits);
#endif
}

template <float (*kWiden)(uint16_t)>
struct Float16Vector {
  using Element = uint16_t;
  static constexpr uint32_t kElements = 8;
  __device__ static float Widen(uint16_t element) { return kWiden(element); }
  __device__ static void Unpack(uint4 words, float* to) {
    UnpackWord(words.x, to);
    UnpackWord(words.y, to + 2);
    UnpackWord(words.z, to + 4);
    UnpackWord(words.w, to + 6);
  }

 private:
  __device__ static void UnpackWord(uint32_t word, float* to) {
    to[0] = kWiden(static_cast<uint16_t>(word));
    to[1] = kWiden(static_cast<uint16_t>(word >> 16));
  }
};

// kInShared: the part is kept in shared memory. Otherwise each use reads device memory.
template <bool kInShared>
class RowPart {
 public:
  // If kInShared, the block's shared memory must have room for SharedFloats after BlockMemory.
  __device__ explicit RowPart(const RowJob& job)
      : values_(job.values),
        mask_(job.mask),
        dtype_(job.dtype),
        banned_(job.is_logits ? -INFINITY : 0.0f) {
    const uint32_t part = PartSize(job.vocab, ClusterBlocks());
    begin_ = ClusterRank() * part;
    if (begin_ > job.vocab) begin_ = job.vocab;
    size_ = job.vocab - begin_ < part ? job.vocab - begin_ : part;
  }

  __device__ uint32_t size() const { return size_; }
  __device__ uint32_t TokenAt(uint32_t index) const { return begin_ + index; }
  // The value of a token that cannot be drawn. No value is below it.
  __device__ float banned() const { return banned_; }
  __device__ float ValueAt(uint32_t index) const {
    if constexpr (kInShared) {
      return Shared()[index];
    } else {
      return mask_ != nullptr && IsMasked(index) ? banned_ : Read(index) + 0.0f;
    }
  }

  // Calls f(index, value) for this thread's elements of the part, by ascending index.
  template <typename F>
  __device__ void ForEach(F f) const {
    for (uint32_t i = threadIdx.x; i < size_; i += kThreads) f(i, ValueAt(i));
  }

  // Calls f(value) for this thread's elements of the part. In shared memory also for elements
  // around the part, which have the value banned().
  template <typename F>
  __device__ void ForEachValue(F f) const {
    if constexpr (kInShared) {
      const uint32_t before = before_;
      const auto* const fours = reinterpret_cast<const float4*>(Vectors());
#pragma unroll 2
      for (uint32_t i = threadIdx.x; i * 4 < before + size_; i += kThreads) {
        const float4 four = fours[i];
        for (const float value : {four.x, four.y, four.z, four.w}) f(value);
      }
    } else {
      for (uint32_t i = threadIdx.x; i < size_; i += kThreads) f(ValueAt(i));
    }
  }

  // Calls f(index, value) for this thread's elements with values in [least, most], which should be
  // few, and maybe for others. In shared memory these may be elements around the part, which have
  // the value banned().
  template <typename F>
  __device__ void ForEachWithin(float least, float most, F f) const {
    if constexpr (kInShared) {
      constexpr uint32_t kAhead = 4;  // loads of a thread that are under way at a time
      constexpr uint32_t kStep = kThreads * 4;
      const uint32_t before = before_;
      const uint32_t end = before + size_;
      const auto* const fours = reinterpret_cast<const float4*>(Vectors());
#pragma unroll 1
      for (uint32_t i = threadIdx.x * 4; i < end; i += kStep * kAhead) {
        uint32_t hits = 0;
#pragma unroll
        for (uint32_t a = 0; a < kAhead; ++a) {
          if (i + a * kStep >= end) continue;
          const float4 four = fours[i / 4 + a * kThreads];
          hits |= Bit(four.x, least, most, a * 4) | Bit(four.y, least, most, a * 4 + 1) |
                  Bit(four.z, least, most, a * 4 + 2) | Bit(four.w, least, most, a * 4 + 3);
        }
        // Read the hits again: they are few, and keeping all values takes more registers.
        while (hits != 0) {
          const auto hit = static_cast<uint32_t>(__ffs(static_cast<int>(hits)) - 1);
          hits &= hits - 1;
          const uint32_t index = i + hit / 4 * kStep + hit % 4 - before;
          f(index, Shared()[static_cast<int32_t>(index)]);
        }
      }
    } else {
      ForEach(f);
    }
  }

  // Calls f(index, value) for each element that `thread` of the block read in Load, or in Edit if
  // the row is `edited`. A whole warp calls it, and each element goes to one lane.
  template <typename F>
  __device__ void ForEachReadBy(uint32_t thread, bool edited, F f) const {
    uint32_t head = 0;
    uint32_t log2_width = 0;
    if (!edited && dtype_ != DataType::kFloat64) {
      const bool is_float = dtype_ == DataType::kFloat32;
      head = is_float ? Head(Elements<float>()) : Head(Elements<uint16_t>());
      log2_width = is_float ? 2 : 3;
    }
    const uint32_t vectors = (size_ - head) >> log2_width;
    for (uint32_t i = LaneOfThread();; i += kWarp) {
      const uint32_t vector = thread + (i >> log2_width) * kThreads;
      if (vector >= vectors) break;
      const uint32_t index = head + (vector << log2_width) + (i & ((1u << log2_width) - 1));
      f(index, ValueAt(index));
    }
    const uint32_t after = head + (vectors << log2_width) + thread;
    if (LaneOfThread() == 0 && thread < head) f(thread, ValueAt(thread));
    if (LaneOfThread() == 0 && after < size_) f(after, ValueAt(after));
  }

  // Reads the part and bans the tokens that the mask leaves out. Returns the greatest key that this
  // thread read; the key of an impossible value if it read none, and kInvalidKey if a value is not
  // allowed.
  __device__ uint64_t Load() {
    const uint64_t greatest = mask_ == nullptr ? LoadAs<false>() : LoadAs<true>();
    if constexpr (kInShared) BanOutside();
    return greatest;
  }

  // Applies the row's edits to the part, which must be loaded and in shared memory. `greatest` is
  // the result of this thread's Load. Returns a key like Load.
  __device__ uint64_t Edit(const RowJob& job, uint64_t greatest) {
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < job.num_edits; e += kThreads) {
      const TokenEdit& edit = job.edits[e];
      const uint32_t index = edit.token - begin_;
      if (edit.token >= begin_ && index < size_)
        Shared()[index] = Edited(job, edit, Shared()[index]);
    }
    __syncthreads();
    if (greatest == kInvalidKey) return greatest;
    Greatest left;
    for (uint32_t i = threadIdx.x; i < size_; i += kThreads) {
      const float value = Shared()[i];
      // A penalty may have overflowed.
      if (!(value <= FLT_MAX)) left.allowed = false;
      if (value > left.value) left = {value, i, left.allowed};
    }
    return KeyOf(left);
  }

 private:
  // Loads of a thread that are under way at a time.
  static constexpr uint32_t kLoadsAhead = kInShared ? 8 : 4;

  // Returns bit `place` if the value is in [least, most], otherwise 0.
  __device__ static uint32_t Bit(float value, float least, float most, uint32_t place) {
    return ((value >= least) & (value <= most)) ? 1u << place : 0;
  }

  // The greatest value that a thread has read, the first of equal ones.
  struct Greatest {
    float value = -INFINITY;
    uint32_t index = 0;
    bool allowed = true;  // all values that were read
  };

  __device__ uint64_t KeyOf(const Greatest& greatest) const {
    return greatest.allowed ? OrderKey(greatest.value, TokenAt(greatest.index)) : kInvalidKey;
  }

  // Adds 0 where a step could have made the value -0.
  __device__ float Edited(const RowJob& job, const TokenEdit& edit, float value) const {
    if ((edit.operations & TokenEdit::kBan) != 0) value = banned_;
    if ((edit.operations & TokenEdit::kBias) != 0) value = value + edit.bias + 0.0f;
    if ((edit.operations & TokenEdit::kRepetition) != 0) {
      const float penalty = job.repetition_penalty;
      value = (value > 0.0f ? value / penalty : value * penalty) + 0.0f;
    }
    if ((edit.operations & TokenEdit::kCounted) != 0) {
      value = value - edit.frequency - job.presence_penalty + 0.0f;
    }
    if ((edit.operations & TokenEdit::kBanRepeating) != 0) value = banned_;
    if ((edit.operations & TokenEdit::kDry) != 0) value = value - edit.dry + 0.0f;
    return value;
  }

  __device__ bool IsMasked(uint32_t index) const {
    const uint32_t token = TokenAt(index);
    return (mask_[token / 32] >> (token % 32) & 1) == 0;
  }

  template <typename Element>
  __device__ const Element* Elements() const {
    return static_cast<const Element*>(values_) + begin_;
  }

  __device__ float Read(uint32_t index) const {
    switch (dtype_) {
      case DataType::kFloat32:
        return Elements<float>()[index];
      case DataType::kFloat64:
        return static_cast<float>(Elements<double>()[index]);
      case DataType::kFloat16:
        return WidenFloat16(Elements<uint16_t>()[index]);
      case DataType::kBFloat16:
        return WidenBFloat16(Elements<uint16_t>()[index]);
    }
    return 0.0f;
  }

  // Returns the mask's bits of `count` <= 32 tokens from `index` on. Higher bits are unspecified.
  __device__ uint32_t MaskBits(uint32_t index, uint32_t count) const {
    const uint32_t token = TokenAt(index);
    const uint32_t* const words = mask_ + token / 32;
    uint32_t bits = words[0] >> (token % 32);
    if (token % 32 + count > 32) bits |= words[1] << (32 - token % 32);
    return bits;
  }

  // kMasked: there is a mask.
  template <bool kMasked>
  __device__ uint64_t LoadAs() {
    switch (dtype_) {
      case DataType::kFloat32:
        return LoadVectors<Float32Vector, kMasked>();
      case DataType::kFloat16:
        return LoadVectors<Float16Vector<WidenOnDevice>, kMasked>();
      case DataType::kBFloat16:
        return LoadVectors<Float16Vector<WidenBFloat16>, kMasked>();
      case DataType::kFloat64:
        break;
    }
    Greatest greatest;
    for (uint32_t i = threadIdx.x; i < size_; i += kThreads) {
      Keep(i, Take<kMasked>(i, Read(i), greatest));
    }
    return KeyOf(greatest);
  }

  // Checks the value `read` at `index`, updates `greatest`, and returns the value to keep.
  template <bool kMasked>
  __device__ float Take(uint32_t index, float read, Greatest& greatest) const {
    return TakeUnless(kMasked && IsMasked(index), index, read, greatest);
  }
  __device__ float TakeUnless(bool masked, uint32_t index, float read, Greatest& greatest) const {
    float value = read + 0.0f;  // -0 becomes +0
    if (!(value >= banned_ && value <= FLT_MAX)) greatest.allowed = false;
    if (masked) value = banned_;
    // Keep the first of equal values.
    if (value > greatest.value) {
      greatest.value = value;
      greatest.index = index;
    }
    return value;
  }

  // The vectors of values in shared memory. Computed from DynamicSharedMemory(), so that the
  // compiler knows that the memory is shared.
  __device__ static float* Vectors() {
    return reinterpret_cast<float*>(static_cast<BlockMemory*>(DynamicSharedMemory()) + 1);
  }
  // Element 0 of the part.
  __device__ float* Shared() const { return Vectors() + before_; }

  // Returns the number of elements before the first one that is aligned for a vector load.
  template <typename Element>
  __device__ uint32_t Head(const Element* from) const {
    const auto past = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(from) % sizeof(uint4));
    const uint32_t head = (sizeof(uint4) - past) % sizeof(uint4) / sizeof(Element);
    return head < size_ ? head : size_;
  }

  // Bans the elements of the first and the last vector that do not belong to the part.
  __device__ void BanOutside() const {
    constexpr uint32_t kWidth = 4;
    const uint32_t after = (kWidth - (before_ + size_) % kWidth) % kWidth;
    if (threadIdx.x < before_) Vectors()[threadIdx.x] = banned_;
    if (threadIdx.x < after) Shared()[size_ + threadIdx.x] = banned_;
  }

  __device__ void Keep(uint32_t index, float value) const {
    if constexpr (kInShared) Shared()[index] = value;
  }

  // Loads the elements before the first vector, the vectors, and the rest.
  template <typename Vector, bool kMasked>
  __device__ uint64_t LoadVectors() {
    constexpr uint32_t kPerVector = Vector::kElements;
    const auto* const from = Elements<typename Vector::Element>();
    const uint32_t head = Head(from);
    // Align the vectors so that four floats are stored at once.
    before_ = (4 - head % 4) % 4;
    const uint32_t vectors = (size_ - head) / kPerVector;
    Greatest greatest;
    for (uint32_t i = threadIdx.x; i < head; i += kThreads) {
      Keep(i, Take<kMasked>(i, Vector::Widen(from[i]), greatest));
    }
    const auto* const first = reinterpret_cast<const uint4*>(from + head);
    for (uint32_t v = threadIdx.x; v < vectors; v += kThreads * kLoadsAhead) {
      uint4 words[kLoadsAhead] = {};
#pragma unroll
      for (uint32_t a = 0; a < kLoadsAhead; ++a) {
        if (v + a * kThreads < vectors) words[a] = LoadVector(first + v + a * kThreads);
      }
#pragma unroll
      for (uint32_t a = 0; a < kLoadsAhead; ++a) {
        if (v + a * kThreads < vectors) {
          TakeVector<Vector, kMasked>(head + (v + a * kThreads) * kPerVector, words[a], greatest);
        }
      }
    }
    for (uint32_t i = head + vectors * kPerVector + threadIdx.x; i < size_; i += kThreads) {
      Keep(i, Take<kMasked>(i, Vector::Widen(from[i]), greatest));
    }
    return KeyOf(greatest);
  }

  __device__ static uint4 LoadVector(const uint4* address) {
    // A value that is read only once need not stay in a cache.
    return kInShared ? __ldcs(address) : __ldg(address);
  }

  template <typename Vector, bool kMasked>
  __device__ void TakeVector(uint32_t index, uint4 words, Greatest& greatest) const {
    float values[Vector::kElements];
    Vector::Unpack(words, values);
    const uint32_t allowed = kMasked ? MaskBits(index, Vector::kElements) : ~0u;
#pragma unroll
    for (uint32_t e = 0; e < Vector::kElements; ++e) {
      values[e] = TakeUnless(kMasked && (allowed >> e & 1) == 0, index + e, values[e], greatest);
    }
    if constexpr (kInShared) {
      for (uint32_t e = 0; e < Vector::kElements; e += 4) {
        *reinterpret_cast<float4*>(Shared() + index + e) = {values[e], values[e + 1], values[e + 2],
                                                            values[e + 3]};
      }
    }
  }

  const void* const values_;
  const uint32_t* const mask_;
  const DataType dtype_;
  const float banned_;
  uint32_t before_ = 0;  // elements before the part in its first vector in shared memory
  uint32_t begin_;
  uint32_t size_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_ROW_PART_H_
