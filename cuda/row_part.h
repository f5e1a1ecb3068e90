// A block's part of a row: read once from device memory, then from shared memory where it fits.

#ifndef TOKEN_SAMPLER_CUDA_ROW_PART_H_
#define TOKEN_SAMPLER_CUDA_ROW_PART_H_

#include <cuda_runtime.h>

#include <cfloat>
#include <cstdint>

#include "cuda/block_memory.h"
#include "cuda/cluster.h"
#include "cuda/row_job.h"
#include "sampler/data_type.h"
#include "sampler/host_device.h"
#include "sampler/token_order.h"

namespace token_sampler::cuda {

// Tokens per block: a multiple of what one vector load reads, so that every part is aligned where
// the row is.
TOKEN_SAMPLER_HOST_DEVICE constexpr uint32_t PartSize(uint32_t vocab, uint32_t cluster_blocks) {
  constexpr uint32_t kMultiple = 8;
  const uint32_t even = (vocab + cluster_blocks - 1) / cluster_blocks;
  return (even + kMultiple - 1) / kMultiple * kMultiple;
}

// Room in shared memory for such a part, wherever in a vector it begins.
constexpr uint32_t SharedFloats(uint32_t part) { return part + 3; }

// What stands for an invalid value among order keys; no token has it, for its id would be 2^32 - 1.
inline constexpr uint64_t kInvalidKey = ~uint64_t{0};

// A vector as it is loaded, and the elements in it.
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

// kInShared: the part is kept in shared memory, else each use reads device memory.
template <bool kInShared>
class RowPart {
 public:
  // `shared` has room for SharedFloats.
  __device__ RowPart(const RowJob& job, float* shared)
      : values_(job.values),
        mask_(job.mask),
        dtype_(job.dtype),
        banned_(job.is_logits ? -INFINITY : 0.0f),
        shared_(shared) {
    const uint32_t part = PartSize(job.vocab, ClusterBlocks());
    begin_ = ClusterRank() * part;
    if (begin_ > job.vocab) begin_ = job.vocab;
    size_ = job.vocab - begin_ < part ? job.vocab - begin_ : part;
  }

  __device__ uint32_t size() const { return size_; }
  __device__ uint32_t TokenAt(uint32_t index) const { return begin_ + index; }
  __device__ float ValueAt(uint32_t index) const {
    if constexpr (kInShared) {
      return shared_[index];
    } else {
      return mask_ != nullptr && IsMasked(index) ? banned_ : Read(index) + 0.0f;
    }
  }

  // Reads the part and bans what the mask leaves out. The greatest key of those that this thread
  // read, one that is never drawn for none, kInvalidKey when a value is not allowed.
  __device__ uint64_t Load() { return mask_ == nullptr ? LoadAs<false>() : LoadAs<true>(); }

  // Applies the row's edits to a part in shared memory, loaded. Returns as Load, with the
  // `greatest` that Load gave this thread.
  __device__ uint64_t Edit(const RowJob& job, uint64_t greatest) {
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < job.num_edits; e += kThreads) {
      const TokenEdit& edit = job.edits[e];
      const uint32_t index = edit.token - begin_;
      if (edit.token >= begin_ && index < size_) shared_[index] = Edited(job, edit, shared_[index]);
    }
    __syncthreads();
    if (greatest == kInvalidKey) return greatest;
    Greatest left;
    for (uint32_t i = threadIdx.x; i < size_; i += kThreads) {
      const float value = shared_[i];
      // A penalty may have led beyond the greatest float.
      if (!(value <= FLT_MAX)) left.allowed = false;
      if (value > left.value) left = {value, i, left.allowed};
    }
    return KeyOf(left);
  }

 private:
  // Of the values that one thread has read, in the order of their indices.
  struct Greatest {
    float value = -INFINITY;
    uint32_t index = 0;
    bool allowed = true;  // all of them
  };

  __device__ uint64_t KeyOf(const Greatest& greatest) const {
    return greatest.allowed ? OrderKey(greatest.value, TokenAt(greatest.index)) : kInvalidKey;
  }

  // 0 is added where a step could have made -0 of it.
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

  // kMasked: there is a mask.
  template <bool kMasked>
  __device__ uint64_t LoadAs() {
    switch (dtype_) {
      case DataType::kFloat32:
        return LoadVectors<Float32Vector, kMasked>();
      case DataType::kFloat16:
        return LoadVectors<Float16Vector<WidenFloat16>, kMasked>();
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

  // What the value `read` at `index` counts as.
  template <bool kMasked>
  __device__ float Take(uint32_t index, float read, Greatest& greatest) const {
    float value = read + 0.0f;  // -0 becomes +0
    if (!(value >= banned_ && value <= FLT_MAX)) greatest.allowed = false;
    if (kMasked && IsMasked(index)) value = banned_;
    // The first of equal ones stays.
    if (value > greatest.value) {
      greatest.value = value;
      greatest.index = index;
    }
    return value;
  }

  __device__ void Keep(uint32_t index, float value) const {
    if constexpr (kInShared) shared_[index] = value;
  }

  // Elements up to the first that a vector load may start at, vectors, and what is left.
  template <typename Vector, bool kMasked>
  __device__ uint64_t LoadVectors() {
    constexpr uint32_t kPerVector = Vector::kElements;
    constexpr uint32_t kElementBytes = sizeof(uint4) / kPerVector;
    constexpr uint32_t kAhead = 4;  // loads of a thread that are under way at once
    const auto* const from = Elements<typename Vector::Element>();
    const auto past = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(from) % sizeof(uint4));
    uint32_t head = (sizeof(uint4) - past) % sizeof(uint4) / kElementBytes;
    if (head > size_) head = size_;
    // So that four floats are stored at once.
    shared_ += (4 - head % 4) % 4;
    const uint32_t vectors = (size_ - head) / kPerVector;
    Greatest greatest;
    for (uint32_t i = threadIdx.x; i < head; i += kThreads) {
      Keep(i, Take<kMasked>(i, Vector::Widen(from[i]), greatest));
    }
    const auto* const first = reinterpret_cast<const uint4*>(from + head);
    for (uint32_t v = threadIdx.x; v < vectors; v += kThreads * kAhead) {
      uint4 words[kAhead] = {};
#pragma unroll
      for (uint32_t a = 0; a < kAhead; ++a) {
        if (v + a * kThreads < vectors) words[a] = LoadVector(first + v + a * kThreads);
      }
#pragma unroll
      for (uint32_t a = 0; a < kAhead; ++a) {
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
    // What is read once need not stay in a cache.
    return kInShared ? __ldcs(address) : __ldg(address);
  }

  template <typename Vector, bool kMasked>
  __device__ void TakeVector(uint32_t index, uint4 words, Greatest& greatest) const {
    float values[Vector::kElements];
    Vector::Unpack(words, values);
#pragma unroll
    for (uint32_t e = 0; e < Vector::kElements; ++e) {
      values[e] = Take<kMasked>(index + e, values[e], greatest);
    }
    if constexpr (kInShared) {
      for (uint32_t e = 0; e < Vector::kElements; e += 4) {
        *reinterpret_cast<float4*>(shared_ + index + e) = {values[e], values[e + 1], values[e + 2],
                                                           values[e + 3]};
      }
    }
  }

  const void* const values_;
  const uint32_t* const mask_;
  const DataType dtype_;
  const float banned_;  // the value of a token that cannot be drawn; none is below it
  float* shared_;
  uint32_t begin_;
  uint32_t size_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_ROW_PART_H_
