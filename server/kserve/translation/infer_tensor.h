// Input tensors of the Open Inference Protocol, raw or typed, and their elements as values.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_TENSOR_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_TENSOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/kserve/translation/proto_field.h"
#include "server/kserve/translation/shared_memory_params.h"
#include "server/memory/ledger.h"

namespace token_sampler {

// Returns the bytes per element of a datatype ("FP32"), or 0 for BYTES, whose elements differ in
// size. InvalidArgument when the protocol has no such datatype.
absl::StatusOr<size_t> DatatypeSize(absl::string_view datatype);

// The datatype as ModelConfig names it. It must be one of the protocol's.
inference::DataType ConfigDatatype(absl::string_view datatype);

// One input, however it was sent.
struct InferTensor {
  std::string name;
  std::string datatype;
  std::vector<int64_t> shape;              // no dimension is negative
  std::string data;                        // the elements in the format of raw contents,
  std::optional<SharedPlace> shared = {};  // unless it is here: only for logits and weights
};

// Takes the inputs, whose names the model must know, out of the request. Raw contents are moved,
// not copied. Inputs in shared memory, except logits and weights, are read after their sizes and
// the sum of these have been checked. `memory` grows by what is copied. InvalidArgument when a
// datatype is unknown, an input has no contents or not as many as its shape says, contents are both
// raw and typed, or two inputs share a name; the errors of FindSharedPlace(), Region::Read() and
// `memory`.
absl::Status TakeInputs(const CallContext& context, inference::ModelInferRequest& request,
                        MemoryGrant& memory, std::vector<InferTensor>& tensors);

// Calls `take` with each element in turn, as a bool, an integer, a double or a string, until it
// returns an error. InvalidArgument for FP16, BF16 and malformed BYTES.
absl::Status ReadValues(const InferTensor& tensor,
                        const std::function<absl::Status(FieldValue)>& take);

// Calls `take` with each element of a tensor of whole numbers in turn. InvalidArgument for other
// numbers, for values beyond int64, and for datatypes that are not numeric.
absl::Status ReadIntegers(const InferTensor& tensor, const std::function<void(int64_t)>& take);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_TENSOR_H_
