// Parses a request whose tensor stays in the pieces in which the transport received it. Protobuf
// would copy it into one, which costs as much as receiving it.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_SLICED_REQUEST_H_
#define TOKEN_SAMPLER_SERVER_CALLS_SLICED_REQUEST_H_

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "sampler/rows/row_source.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Bytes in pieces. Does not own the pieces, which must outlive it.
class SlicedBytes final : public RowSource {
 public:
  // Appends a piece.
  void Add(absl::string_view piece);

  void Clear() {
    pieces_.clear();
    pieces_.shrink_to_fit();
    size_ = 0;
  }

  uint64_t size() const { return size_; }

  // Returns the rest, from `offset` on, of the piece that has this byte. `offset` must be below
  // size().
  absl::string_view PieceFrom(uint64_t offset) const;

  // Returns bytes [offset, offset + size) if they are in one piece, otherwise null.
  const char* Find(uint64_t offset, size_t size) const;

  // Always OK.
  absl::Status Read(uint64_t offset, size_t size, char* to) const override;

  // Returns bytes [offset, offset + size) as pieces of the same memory.
  SlicedBytes Part(uint64_t offset, uint64_t size) const;

 private:
  struct Piece {
    absl::string_view bytes;  // not empty
    uint64_t end;             // offset of its end among all bytes
  };

  absl::InlinedVector<Piece, 1> pieces_;  // mostly one
  uint64_t size_ = 0;
};

// Parses the message with protobuf. False if it is not a valid message.
bool ParseWhole(const SlicedBytes& message, google::protobuf::MessageLite& request);

// Parses the message as protobuf would, except for tensor.data or step.tensor.data. If that is set,
// it is empty in `request`, and `data` has its bytes. False if protobuf would not parse the
// message.
bool ParseSliced(const SlicedBytes& message, v1::SampleRequest& request, SlicedBytes& data);
bool ParseSliced(const SlicedBytes& message, v1::SampleStreamRequest& request, SlicedBytes& data);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_SLICED_REQUEST_H_
