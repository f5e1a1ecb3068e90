#include "cuda/launch/copy_list.h"

#include <algorithm>

#include "cuda/launch/cuda_handles.h"
#include "sampler/status_macros.h"

namespace token_sampler::cuda {
namespace {

// cudaDeviceProp::memPitch of every device.
constexpr size_t kMaxPitch = (size_t{1} << 31) - 1;

}  // namespace

void CopyList::Add(const RowSource* source, const char* from, size_t to, size_t size) {
  // Mappings of two sources may be adjacent too, but a copy must not cross from one pinned range to
  // another.
  if (!copies_.empty() && copies_.back().source == source &&
      Extend(copies_.back(), from, to, size)) {
    return;
  }
  copies_.push_back({.source = source, .from = from, .to = to, .width = size});
}

bool CopyList::Extend(Copy& copy, const char* from, size_t to, size_t size) {
  if (copy.rows == 1 && from == copy.from + copy.width && to == copy.to + copy.width) {
    copy.width += size;
    return true;
  }
  if (size != copy.width || from <= copy.from) return false;
  const auto from_distance = static_cast<size_t>(from - copy.from);
  const size_t to_distance = to - copy.to;
  if (copy.rows == 1) {
    if (from_distance < size || from_distance > kMaxPitch || to_distance > kMaxPitch) return false;
    copy.from_pitch = from_distance;
    copy.to_pitch = to_distance;
  } else if (from_distance != copy.rows * copy.from_pitch ||
             to_distance != copy.rows * copy.to_pitch) {
    return false;
  }
  ++copy.rows;
  return true;
}

absl::Status CopyList::Submit(char* to, cudaStream_t stream) const {
  for (const Copy& copy : copies_) {
    RETURN_IF_ERROR(
        copy.rows == 1
            ? ToStatus(cudaMemcpyAsync(to + copy.to, copy.from, copy.width, cudaMemcpyHostToDevice,
                                       stream),
                       "cudaMemcpyAsync")
            : ToStatus(cudaMemcpy2DAsync(to + copy.to, copy.to_pitch, copy.from, copy.from_pitch,
                                         copy.width, copy.rows, cudaMemcpyHostToDevice, stream),
                       "cudaMemcpy2DAsync"));
  }
  return absl::OkStatus();
}

std::vector<const RowSource*> CopyList::Lost() const {
  std::vector<const RowSource*> sources;
  for (const Copy& copy : copies_) {
    const bool is_new = std::find(sources.begin(), sources.end(), copy.source) == sources.end();
    if (copy.source != nullptr && is_new) sources.push_back(copy.source);
  }
  const auto holds = [](const RowSource* source) { return source->Holds(); };
  sources.erase(std::remove_if(sources.begin(), sources.end(), holds), sources.end());
  return sources;
}

}  // namespace token_sampler::cuda
