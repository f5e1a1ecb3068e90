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

// What stands for an invalid value among order keys; no token has it, for its id would be 2^32 - 1.
inline constexpr uint64_t kInvalidKey = ~uint64_t{0};

class RowPart {
 public:
  // `shared` has room for PartSize floats, or is null.
  __device__ RowPart(const RowJob& job, float* shared) : job_(job), shared_(shared) {
    const uint32_t part = PartSize(job.vocab, ClusterBlocks());
    begin_ = ClusterRank() * part;
    if (begin_ > job.vocab) begin_ = job.vocab;
    size_ = job.vocab - begin_ < part ? job.vocab - begin_ : part;
  }

  __device__ uint32_t size() const { return size_; }
  __device__ uint32_t TokenAt(uint32_t index) const { return begin_ + index; }
  __device__ float ValueAt(uint32_t index) const {
    return shared_ != nullptr ? shared_[index] : Read(index);
  }
  __device__ uint64_t KeyAt(uint32_t index) const {
    return OrderKey(ValueAt(index), TokenAt(index));
  }

  // Reads the part and bans what the mask leaves out. The greatest key of those that this thread
  // read, 0 for none, kInvalidKey when a value is not allowed.
  __device__ uint64_t Load() {
    switch (job_.dtype) {
      case DataType::kFloat32:
        return LoadElements<float>([](float value) { return value; });
      case DataType::kFloat64:
        return LoadElements<double>([](double value) { return static_cast<float>(value); });
      case DataType::kFloat16:
        return LoadElements<uint16_t>([](uint16_t bits) { return WidenFloat16(bits); });
      case DataType::kBFloat16:
        return LoadElements<uint16_t>([](uint16_t bits) { return WidenBFloat16(bits); });
    }
    return kInvalidKey;
  }

  // Applies the row's edits to a part in shared memory, loaded. Returns as Load, with the
  // `greatest` that Load gave this thread.
  __device__ uint64_t Edit(uint64_t greatest) {
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < job_.num_edits; e += kThreads) {
      const TokenEdit& edit = job_.edits[e];
      const uint32_t index = edit.token - begin_;
      if (edit.token >= begin_ && index < size_) shared_[index] = Edited(edit, shared_[index]);
    }
    __syncthreads();
    if (greatest == kInvalidKey) return greatest;
    greatest = 0;
    for (uint32_t i = threadIdx.x; i < size_; i += kThreads) {
      const float value = shared_[i];
      // A penalty may have led beyond the greatest float.
      const uint64_t key = value <= FLT_MAX ? OrderKey(value, TokenAt(i)) : kInvalidKey;
      if (key > greatest) greatest = key;
    }
    return greatest;
  }

 private:
  __device__ float Banned() const { return job_.is_logits ? -INFINITY : 0.0f; }

  // 0 is added where a step could have made -0 of it.
  __device__ float Edited(const TokenEdit& edit, float value) const {
    if ((edit.operations & TokenEdit::kBan) != 0) value = Banned();
    if ((edit.operations & TokenEdit::kBias) != 0) value = value + edit.bias + 0.0f;
    if ((edit.operations & TokenEdit::kRepetition) != 0) {
      const float penalty = job_.repetition_penalty;
      value = (value > 0.0f ? value / penalty : value * penalty) + 0.0f;
    }
    if ((edit.operations & TokenEdit::kCounted) != 0) {
      value = value - edit.frequency - job_.presence_penalty + 0.0f;
    }
    if ((edit.operations & TokenEdit::kBanRepeating) != 0) value = Banned();
    if ((edit.operations & TokenEdit::kDry) != 0) value = value - edit.dry + 0.0f;
    return value;
  }

  __device__ bool IsMasked(uint32_t token) const {
    return job_.mask != nullptr && (job_.mask[token / 32] >> (token % 32) & 1) == 0;
  }

  template <typename Element>
  __device__ const Element* Elements() const {
    return static_cast<const Element*>(job_.values) + begin_;
  }

  __device__ float Read(uint32_t index) const {
    if (IsMasked(TokenAt(index))) return Banned();
    switch (job_.dtype) {
      case DataType::kFloat32:
        return Elements<float>()[index] + 0.0f;
      case DataType::kFloat64:
        return static_cast<float>(Elements<double>()[index]) + 0.0f;
      case DataType::kFloat16:
        return WidenFloat16(Elements<uint16_t>()[index]) + 0.0f;
      case DataType::kBFloat16:
        return WidenBFloat16(Elements<uint16_t>()[index]) + 0.0f;
    }
    return 0.0f;
  }

  template <typename Element, typename Widen>
  __device__ uint64_t LoadElements(Widen widen) {
    constexpr uint32_t kPerVector = 16 / sizeof(Element);
    struct alignas(16) Vector {
      Element elements[kPerVector];
    };
    const Element* const from = Elements<Element>();
    uint64_t greatest = 0;
    const bool aligned = reinterpret_cast<uintptr_t>(from) % sizeof(Vector) == 0;
    const uint32_t vectors = aligned ? size_ / kPerVector : 0;
    for (uint32_t v = threadIdx.x; v < vectors; v += kThreads) {
      const Vector vector = reinterpret_cast<const Vector*>(from)[v];
      for (uint32_t e = 0; e < kPerVector; ++e) {
        greatest = Take(v * kPerVector + e, widen(vector.elements[e]), greatest);
      }
    }
    for (uint32_t i = vectors * kPerVector + threadIdx.x; i < size_; i += kThreads) {
      greatest = Take(i, widen(from[i]), greatest);
    }
    return greatest;
  }

  __device__ uint64_t Take(uint32_t index, float read, uint64_t greatest) {
    float value = read + 0.0f;  // -0 becomes +0
    const bool allowed = job_.is_logits ? value <= FLT_MAX : value >= 0.0f && value <= FLT_MAX;
    if (IsMasked(TokenAt(index))) value = Banned();
    if (shared_ != nullptr) shared_[index] = value;
    const uint64_t key = allowed ? OrderKey(value, TokenAt(index)) : kInvalidKey;
    return key > greatest ? key : greatest;
  }

  const RowJob& job_;
  float* const shared_;
  uint32_t begin_;
  uint32_t size_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_ROW_PART_H_
