// Builds inference requests of the Open Inference Protocol, piece by piece.

#ifndef TOKEN_SAMPLER_TESTS_UNIT_SERVER_INFER_MESSAGES_H_
#define TOKEN_SAMPLER_TESTS_UNIT_SERVER_INFER_MESSAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "inference/grpc_inference_service.pb.h"
#include "tests/testing/tensors.h"

namespace token_sampler {

// Encodes strings like the raw contents of BYTES.
inline std::string Strings(const std::vector<std::string>& values) {
  std::string bytes;
  for (const std::string& value : values) {
    bytes += Bytes<uint32_t>({static_cast<uint32_t>(value.size())}) + value;
  }
  return bytes;
}

inline void AddInput(inference::ModelInferRequest& request, const std::string& name,
                     const std::string& datatype, const std::vector<int64_t>& shape,
                     const std::string& raw) {
  auto& input = *request.add_inputs();
  input.set_name(name);
  input.set_datatype(datatype);
  input.mutable_shape()->Add(shape.begin(), shape.end());
  request.add_raw_input_contents(raw);
}

// Makes a request with two rows of three logits.
inline inference::ModelInferRequest Request() {
  inference::ModelInferRequest request;
  request.set_model_name("sampler");
  AddInput(request, "logits", "FP32", {2, 3}, Bytes<float>({1, 2, 3, 4, 5, 6}));
  return request;
}

inline inference::ModelInferRequest WithInput(const std::string& name, const std::string& datatype,
                                              const std::vector<int64_t>& shape,
                                              const std::string& raw) {
  inference::ModelInferRequest request = Request();
  AddInput(request, name, datatype, shape, raw);
  return request;
}

inline inference::InferParameter& Parameter(inference::ModelInferRequest& request,
                                            const std::string& name) {
  return (*request.mutable_parameters())[name];
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_UNIT_SERVER_INFER_MESSAGES_H_
