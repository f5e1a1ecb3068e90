// Input tensors of the Open Inference Protocol, raw or typed, and their elements as values.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_INFER_TENSOR_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_INFER_TENSOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/kserve/field_value.h"
#include "server/kserve/shared_place.h"
#include "server/memory/ledger.h"

namespace token_sampler {

// Bytes per element of a datatype ("FP32"), 0 for BYTES, whose elements differ. InvalidArgument for
// one that the protocol does not have.
absl::Status DatatypeSize(absl::string_view datatype, size_t& size);

// The same datatype in a ModelConfig. It must be one of the protocol's.
inference::DataType ConfigDatatype(absl::string_view datatype);

// One input, whichever way it came.
struct InferTensor {
  std::string name;
  std::string datatype;
  std::vector<int64_t> shape;              // no dimension is negative
  std::string data;                        // the elements as raw contents have them,
  std::optional<SharedPlace> shared = {};  // unless they are there: of logits and weights alone
};

// Takes the inputs, which the model has, out of the request: their raw contents are moved, not
// copied, and those in shared memory are read, but for logits and weights, once their sizes and the
// sum of them have been checked. InvalidArgument when a datatype is unknown, an input has no
// contents or not as many as its shape says, contents are raw and typed, or two inputs share a
// name; and the errors of FindSharedPlace, Region::Read and `memory`, of which what is copied is
// taken.
absl::Status TakeInputs(const RequestLimits& limits, inference::ModelInferRequest& request,
                        MemoryGrant& memory, std::vector<InferTensor>& tensors);

// Calls `take` with each element in turn, as a bool, an integer, a double or a string. FP16 and
// BF16 are InvalidArgument, and so is BYTES that does not hold together.
absl::Status ReadValues(const InferTensor& tensor,
                        const std::function<absl::Status(FieldValue)>& take);

// Calls `take` with each element of a tensor of whole numbers in turn. InvalidArgument for others,
// for values beyond int64, and for datatypes that are no numbers.
absl::Status ReadIntegers(const InferTensor& tensor, const std::function<void(int64_t)>& take);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_INFER_TENSOR_H_
