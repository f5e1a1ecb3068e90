// Compares the parsing of requests in pieces with protobuf's own parser.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_SLICED_DIFFERENCE_H_
#define TOKEN_SAMPLER_TESTS_TESTING_SLICED_DIFFERENCE_H_

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/calls/sliced_request.h"

namespace token_sampler::testing {

// A message cut into pieces at random places. Each piece has memory of its own, so that the address
// sanitizer detects reads beyond it.
class Pieces {
 public:
  // No piece is longer than `largest` bytes, and some are empty.
  Pieces(const std::string& message, size_t largest, std::mt19937& random) {
    for (size_t begin = 0; begin < message.size();) {
      const size_t size = std::min<size_t>(random() % (largest + 1), message.size() - begin);
      auto piece = std::make_unique<char[]>(size);
      message.copy(piece.get(), size, begin);
      bytes_.Add({piece.get(), size});
      memory_.push_back(std::move(piece));
      begin += size;
    }
  }

  const SlicedBytes& bytes() const { return bytes_; }

 private:
  std::vector<std::unique_ptr<char[]>> memory_;
  SlicedBytes bytes_;
};

inline std::string Contents(const SlicedBytes& bytes) {
  std::string contents(bytes.size(), '\0');
  return bytes.Read(0, contents.size(), contents.data()).ok() ? contents : "cannot be read";
}

inline v1::Tensor& TensorOf(v1::SampleRequest& request) { return *request.mutable_tensor(); }
inline v1::Tensor& TensorOf(v1::SampleStreamRequest& request) {
  return *request.mutable_step()->mutable_tensor();
}
inline bool HasData(const v1::SampleRequest& request) { return request.tensor().has_data(); }
inline bool HasData(const v1::SampleStreamRequest& request) {
  return request.step().tensor().has_data();
}

// Parses the message with ParseSliced(), in pieces of at most `largest` bytes, and as a whole with
// protobuf. Returns what differs, or "". Sets `parses` to whether protobuf parses it.
template <typename Request>
std::string SlicedDifference(const std::string& message, size_t largest, std::mt19937& random,
                             bool& parses) {
  Request expected;
  parses = expected.ParseFromString(message);
  const Pieces pieces(message, largest, random);
  Request request;
  SlicedBytes data;
  if (ParseSliced(pieces.bytes(), request, data) != parses) {
    return parses ? "refused what protobuf parses" : "parsed what protobuf refuses";
  }
  if (!parses) return "";
  if (HasData(request) != HasData(expected)) return "the presence of data";
  if (HasData(request)) {
    if (!TensorOf(request).data().empty()) return "data that was to stay in pieces";
    TensorOf(request).set_data(Contents(data));
  }
  return google::protobuf::util::MessageDifferencer::Equals(request, expected) ? "" : "the fields";
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_SLICED_DIFFERENCE_H_
