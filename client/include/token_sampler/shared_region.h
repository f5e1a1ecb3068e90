// Memory that this process shares with a server on the same machine, so that tensors are not sent.
//
//   absl::StatusOr<SharedRegion> region = SharedRegion::Create(*client, rows * vocab * 4);
//   WriteLogits(static_cast<float*>(region->data()));
//   request.matrix = region->Rows(0, DataType::kFloat32, rows, vocab);
//   client->Sample(request);
//
// The server must run with --shared-memory=system. It reads the rows while the call is in flight:
// write to them only before the call and after its answer.

#ifndef TOKEN_SAMPLER_CLIENT_SHARED_REGION_H_
#define TOKEN_SAMPLER_CLIENT_SHARED_REGION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

// Calls in flight may use any parts of it. The destructor ends it, also at the server. It keeps the
// client's connection alive, so the client may be moved or destroyed earlier.
class SharedRegion {
 public:
  // Creates a shared-memory object of `byte_size` bytes, all zero, whose name begins with `prefix`
  // (the server's --shared-memory-prefix), and registers it. InvalidArgument when `byte_size` is
  // out of range, ResourceExhausted when the machine lacks the memory, and the errors of the
  // server.
  static absl::StatusOr<SharedRegion> Create(const SamplerClient& client, size_t byte_size,
                                             absl::string_view prefix = "token-sampler-");

  SharedRegion(SharedRegion&&) noexcept;
  SharedRegion& operator=(SharedRegion&&) noexcept;
  ~SharedRegion();

  void* data();
  size_t byte_size() const;
  const std::string& name() const;

  // A matrix whose rows are in this memory, from byte `offset` on. `row_stride` is the bytes from
  // row to row, 0 for rows without gaps. The server checks that the rows are inside.
  Matrix Rows(uint64_t offset, DataType dtype, int64_t rows, int64_t vocab,
              uint64_t row_stride = 0) const;

 private:
  struct Mapping;

  explicit SharedRegion(std::unique_ptr<Mapping> mapping);

  std::unique_ptr<Mapping> mapping_;
};

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_SHARED_REGION_H_
