// Fuzzes requests of each method with any bytes, read as the service reads them. Neither parsing
// nor decoding may take more memory than the ledger has granted for the bytes, or more time than
// the bytes justify.

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "inference/grpc_inference_service.pb.h"
#include "server/codec/describe_codec.h"
#include "server/codec/field_check.h"
#include "server/codec/request_codec.h"
#include "server/codec/verify_draft_codec.h"
#include "server/kserve/translation/infer_request.h"
#include "tests/fuzz/allocations.h"
#include "tests/fuzz/reading.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {
namespace {

// The most that a request may take besides what the ledger grants: rows, keys and errors of as many
// rows as the limits allow, which it grants with the answer, and error messages. Under the
// sanitizers the slowest valid request of this size takes a hundredth of the time.
constexpr Taken kFree = {.bytes = 2 << 20, .seconds = 0.5};
constexpr size_t kMostBytes = 1 << 13;

void ReadSample(const std::string& message, Reading& reading) {
  v1::SampleRequest request;
  SlicedBytes data;
  if (!Parse(message, reading, request, data)) return;
  DecodedSample decoded;
  if (CheckFields(request).ok())
    static_cast<void>(DecodeSample(request, reading.context, decoded, &data));
}

void ReadStream(const std::string& message, Reading& reading) {
  v1::SampleStreamRequest request;
  SlicedBytes data;
  static_cast<void>(Parse(message, reading, request, data));
}

void ReadVerifyDraft(const std::string& message, Reading& reading) {
  v1::VerifyDraftRequest request;
  SlicedBytes none;
  if (!Parse(message, reading, request, none)) return;
  DecodedDrafts decoded;
  if (CheckFields(request).ok())
    static_cast<void>(DecodeVerifyDraft(request, reading.context, decoded));
}

void ReadDescribe(const std::string& message, Reading& reading) {
  v1::DescribeRequest request;
  SlicedBytes none;
  if (!Parse(message, reading, request, none)) return;
  DecodedSample decoded;
  if (!CheckFields(request).ok()) return;
  static_cast<void>(DecodeDescribe(request, reading.context, decoded));
}

void ReadInfer(const std::string& message, Reading& reading) {
  inference::ModelInferRequest request;
  SlicedBytes none;
  if (!Parse(message, reading, request, none)) return;
  InferCall call;
  if (!TranslateRequest(reading.context, request, call).ok()) return;
  DecodedSample decoded;
  static_cast<void>(DecodeSample(call.request, reading.context, decoded));
}

// Returns a valid request. The fuzzer's bytes are added to it, and protobuf merges the two.
v1::SampleRequest Good() {
  v1::SampleRequest request;
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT16);
  tensor.set_rows(4);
  tensor.set_vocab(8);
  tensor.set_data(std::string(64, '\0'));
  request.add_params()->set_top_p(0.5);
  return request;
}

// Returns a valid request with weights.
v1::SampleRequest GoodWeights() {
  v1::SampleRequest request = Good();
  request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  request.mutable_tensor()->set_data(std::string(64, '\x3c'));
  request.mutable_params(0)->set_num_samples(3);
  return request;
}

v1::VerifyDraftRequest GoodDraft() {
  v1::VerifyDraftRequest request;
  *request.mutable_target() = Good().tensor();
  request.add_draft_lengths(3);
  for (const uint32_t token : {1u, 2u, 3u}) request.add_draft_token_ids(token);
  return request;
}

inference::ModelInferRequest GoodInfer() {
  inference::ModelInferRequest request;
  request.set_model_name("sampler");
  auto& input = *request.add_inputs();
  input.set_name("logits");
  input.set_datatype("FP16");
  input.add_shape(4);
  input.add_shape(8);
  request.add_raw_input_contents(std::string(64, '\0'));
  return request;
}

struct Method {
  const char* name;
  void (*read)(const std::string& message, Reading& reading);
  std::string good;
};

const Method& MethodOf(size_t number) {
  static const auto* const methods = [] {
    v1::DescribeRequest describe;
    *describe.mutable_request() = Good();
    v1::SampleStreamRequest step;
    *step.mutable_step()->mutable_tensor() = Good().tensor();
    return new std::vector<Method>{
        {"Sample", ReadSample, Good().SerializeAsString()},
        {"SampleStream", ReadStream, step.SerializeAsString()},
        {"VerifyDraft", ReadVerifyDraft, GoodDraft().SerializeAsString()},
        {"Describe", ReadDescribe, describe.SerializeAsString()},
        {"ModelInfer", ReadInfer, GoodInfer().SerializeAsString()},
        {"Sample of weights", ReadSample, GoodWeights().SerializeAsString()},
    };
  }();
  return (*methods)[number % methods->size()];
}

// libFuzzer keeps an input that sets a counter which no earlier input set. So it searches for
// messages that take more and more memory per byte.
[[gnu::section("__libfuzzer_extra_counters")]] uint8_t memory_per_byte[64];

void TestOne(const Method& method, const std::string& message) {
  Reading reading;
  Taken taken;
  const double begin = ProcessorSeconds();
  {
    const Allocations allocations;
    method.read(message, reading);
    taken.bytes = Allocations::Peak();
  }
  taken.seconds = ProcessorSeconds() - begin;
  const auto size = static_cast<int64_t>(message.size());
  memory_per_byte[std::min<int64_t>(taken.bytes / (16 * std::max<int64_t>(size, 64)), 63)] = 1;
  CheckTaken(method.name, message.size(), taken, reading.ledger, kFree);
}

void AppendLength(size_t length, std::string& message) {
  for (; length >= 0x80; length >>= 7) message.push_back(static_cast<char>(length | 0x80));
  message.push_back(static_cast<char>(length));
}

// Appends a field with the bytes. Field numbers are below 64, like nearly all in the contract.
void AppendField(uint8_t number, std::string_view bytes, std::string& message) {
  const unsigned tag = (number % 64u) << 3 | 2u;
  AppendLength(tag, message);
  AppendLength(bytes.size(), message);
  message += bytes;
}

// Makes a message of the fuzzer's bytes. The first byte is the method and how to use the bytes
// after the second, which is the number of their repetitions. They are added to a valid request or
// to nothing, unchanged or as numbers of empty fields, in a field or not.
std::string MessageOf(const uint8_t* bytes, size_t size, const Method& method) {
  const uint8_t kind = bytes[0];
  std::string part;
  if (kind & 1) {
    for (size_t i = 3; i < size; ++i) AppendField(bytes[i], "", part);
  } else {
    part.assign(bytes + 3, bytes + size);
  }
  std::string repeated;
  const size_t times = size_t{1} << (bytes[1] % 15);
  for (size_t i = 0; i < times && repeated.size() < kMostBytes; ++i) repeated += part;
  std::string message = kind & 2 ? method.good : "";
  if (kind & 4) {
    AppendField(bytes[2], repeated, message);
  } else {
    message += repeated;
  }
  return message;
}

}  // namespace
}  // namespace token_sampler

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto* const silence = new google::protobuf::LogSilencer;
  static_cast<void>(silence);
  if (size < 4) return 0;
  const token_sampler::Method& method = token_sampler::MethodOf(bytes[0] / 8);
  token_sampler::TestOne(method, token_sampler::MessageOf(bytes, size, method));
  return 0;
}

// First tries each field of each method, empty and as often as there is room, in a valid request
// and in each of its first fields: these messages grow the most.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  for (int method = 0; method < 6; ++method) {
    for (int within = 0; within < 8; ++within) {
      for (int field = 1; field < 64; ++field) {
        const int kind = 8 * method + (within > 0 ? 7 : 3);
        const uint8_t bytes[] = {static_cast<uint8_t>(kind), 12, static_cast<uint8_t>(within),
                                 static_cast<uint8_t>(field)};
        LLVMFuzzerTestOneInput(bytes, sizeof bytes);
      }
    }
  }
  return 0;
}
