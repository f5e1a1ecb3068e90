// Tests the measured size of a parsed message against the memory that protobuf takes for it, and
// which messages are refused before they take any.

#include "server/calls/parsed_size.h"

#include <gmock/gmock.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <type_traits>

#include "inference/grpc_inference_service.pb.h"
#include "server/codec/field_check.h"
#include "tests/testing/sliced_difference.h"

namespace token_sampler {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ::testing::HasSubstr;

constexpr ParseLimits kNoLimits = {.max_rows = std::numeric_limits<uint64_t>::max(),
                                   .max_bytes = std::numeric_limits<uint64_t>::max()};

template <typename Request>
constexpr bool kSliced =
    std::is_same_v<Request, v1::SampleRequest> || std::is_same_v<Request, v1::SampleStreamRequest>;

template <typename Request>
absl::Status Measure(const std::string& message, const ParseLimits& limits, ParsedSize& size) {
  SlicedBytes bytes;
  bytes.Add(message);
  return MeasureParsed(*Request::descriptor(), bytes, limits, size);
}

void AddNumber(Message& message, const FieldDescriptor& field, std::mt19937& random) {
  const Reflection& reflection = *message.GetReflection();
  const auto small = static_cast<uint32_t>(random() >> (random() % 32));
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return field.is_repeated() ? reflection.AddUInt32(&message, &field, small)
                                 : reflection.SetUInt32(&message, &field, small);
    case FieldDescriptor::CPPTYPE_UINT64:
      return field.is_repeated() ? reflection.AddUInt64(&message, &field, small)
                                 : reflection.SetUInt64(&message, &field, small);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return field.is_repeated() ? reflection.AddFloat(&message, &field, 0.5f)
                                 : reflection.SetFloat(&message, &field, 0.5f);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return field.is_repeated() ? reflection.AddDouble(&message, &field, 0.5)
                                 : reflection.SetDouble(&message, &field, 0.5);
    case FieldDescriptor::CPPTYPE_ENUM:
      return field.is_repeated() ? reflection.AddEnumValue(&message, &field, 1)
                                 : reflection.SetEnumValue(&message, &field, 1);
    default:
      return;
  }
}

// Sets random fields of a message and of its nested messages, and makes lists of random length.
void Fill(Message& message, std::mt19937& random) {
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (random() % 3 != 0) continue;
    const uint64_t entries = field.is_repeated() ? 1 + random() % (1u << (random() % 8)) : 1;
    for (uint64_t entry = 0; entry < entries; ++entry) {
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Fill(field.is_repeated() ? *reflection.AddMessage(&message, &field)
                                 : *reflection.MutableMessage(&message, &field),
             random);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        const std::string text(random() % 40, 'x');
        field.is_repeated() ? reflection.AddString(&message, &field, text)
                            : reflection.SetString(&message, &field, text);
      } else {
        AddNumber(message, field, random);
      }
    }
  }
}

// Returns the bytes that protobuf takes for the message; 0 if it does not parse.
template <typename Request>
uint64_t SpaceUsed(const std::string& message) {
  Request request;
  if constexpr (kSliced<Request>) {
    SlicedBytes bytes;
    bytes.Add(message);
    SlicedBytes data;
    return ParseSliced(bytes, request, data) ? request.SpaceUsedLong() : 0;
  } else {
    return request.ParseFromString(message) ? request.SpaceUsedLong() : 0;
  }
}

// True if CheckFields accepts the message, which protobuf must parse.
template <typename Request>
bool IsKnown(const std::string& message) {
  Request request;
  return request.ParseFromString(message) && CheckFields(request).ok();
}

template <typename Request>
class ParsedSizeTest : public ::testing::Test {};
using Requests =
    ::testing::Types<v1::SampleRequest, v1::SampleStreamRequest, v1::VerifyDraftRequest,
                     v1::DescribeRequest, inference::ModelInferRequest>;
TYPED_TEST_SUITE(ParsedSizeTest, Requests);

TYPED_TEST(ParsedSizeTest, NoMessageTakesMoreThanWasMeasured) {
  std::mt19937 random(17);
  for (int i = 0; i < 300; ++i) {
    TypeParam request;
    Fill(request, random);
    const std::string message = request.SerializeAsString();
    ParsedSize size;
    ASSERT_TRUE(Measure<TypeParam>(message, kNoLimits, size).ok());
    EXPECT_GE(size.kept, SpaceUsed<TypeParam>(message)) << request.ShortDebugString();
    TypeParam whole;
    ASSERT_TRUE(whole.ParseFromString(message));
    EXPECT_GE(size.kept + size.data, whole.SpaceUsedLong()) << request.ShortDebugString();
  }
}

// Bytes that no serializer would write: if protobuf parses them, they must be measured too.
TYPED_TEST(ParsedSizeTest, NoMutantTakesMoreThanWasMeasured) {
  const google::protobuf::LogSilencer silence;
  std::mt19937 random(18);
  int parsed = 0;
  for (int i = 0; i < 3000; ++i) {
    TypeParam request;
    Fill(request, random);
    std::string message = request.SerializeAsString().substr(0, 400);
    for (int change = 0; change < 3 && !message.empty(); ++change) {
      message[random() % message.size()] = static_cast<char>(random());
    }
    const uint64_t used = SpaceUsed<TypeParam>(message);
    if (used == 0) continue;
    TypeParam whole;
    ASSERT_TRUE(whole.ParseFromString(message));
    ++parsed;
    ParsedSize size;
    ASSERT_TRUE(Measure<TypeParam>(message, kNoLimits, size).ok());
    EXPECT_GE(size.kept, used);
    EXPECT_GE(size.kept + size.data, whole.SpaceUsedLong());
  }
  EXPECT_GT(parsed, 0);
}

// The types whose fields the service checks.
template <typename Request>
class KnownFieldsTest : public ::testing::Test {};
using CheckedRequests = ::testing::Types<v1::SampleRequest, v1::SampleStreamRequest,
                                         v1::VerifyDraftRequest, v1::DescribeRequest>;
TYPED_TEST_SUITE(KnownFieldsTest, CheckedRequests);

TYPED_TEST(KnownFieldsTest, MessagesOfTheContractAreAllKnown) {
  std::mt19937 random(20);
  for (int i = 0; i < 300; ++i) {
    TypeParam request;
    Fill(request, random);
    const std::string message = request.SerializeAsString();
    ASSERT_TRUE(IsKnown<TypeParam>(message));
    ParsedSize size;
    ASSERT_TRUE(Measure<TypeParam>(message, kNoLimits, size).ok());
    EXPECT_TRUE(size.all_known) << request.ShortDebugString();
  }
}

TYPED_TEST(KnownFieldsTest, NoMutantIsBelievedKnownThatIsNot) {
  const google::protobuf::LogSilencer silence;
  std::mt19937 random(21);
  int unknown = 0;
  for (int i = 0; i < 10'000; ++i) {
    TypeParam request;
    Fill(request, random);
    std::string message = request.SerializeAsString().substr(0, 100);
    for (int change = 0; change < 2 && !message.empty(); ++change) {
      message[random() % message.size()] = static_cast<char>(random());
    }
    if (!TypeParam().ParseFromString(message) || IsKnown<TypeParam>(message)) continue;
    ++unknown;
    ParsedSize size;
    ASSERT_TRUE(Measure<TypeParam>(message, kNoLimits, size).ok());
    EXPECT_FALSE(size.all_known);
  }
  EXPECT_GT(unknown, 100);
}

TEST(KnownEnumsTest, AnEnumsValueIsKnownUpToTheLast) {
  v1::SampleRequest request;
  ParsedSize size;
  for (const int dtype : {0, 4, 5, -1}) {
    request.mutable_tensor()->set_dtype(static_cast<v1::DataType>(dtype));
    ASSERT_TRUE(Measure<v1::SampleRequest>(request.SerializeAsString(), kNoLimits, size).ok());
    EXPECT_EQ(size.all_known, dtype == 0 || dtype == 4) << dtype;
  }
}

TYPED_TEST(ParsedSizeTest, MessagesInPiecesAreMeasuredAsWholeOnes) {
  std::mt19937 random(19);
  for (int i = 0; i < 50; ++i) {
    TypeParam request;
    Fill(request, random);
    const std::string message = request.SerializeAsString();
    ParsedSize whole;
    ASSERT_TRUE(Measure<TypeParam>(message, kNoLimits, whole).ok());
    const testing::Pieces pieces(message, 5, random);
    ParsedSize size;
    ASSERT_TRUE(MeasureParsed(*TypeParam::descriptor(), pieces.bytes(), kNoLimits, size).ok());
    EXPECT_EQ(size.kept, whole.kept);
    EXPECT_EQ(size.scratch, whole.scratch);
  }
}

TEST(ParsedSizeLimitTest, ParametersBeyondTheRowsAreRefusedAsTheyAreRead) {
  v1::SampleRequest request;
  for (int i = 0; i < 5; ++i) request.add_params();
  ParsedSize size;
  const ParseLimits limits = {.max_rows = 4, .max_bytes = 1 << 20};
  const absl::Status status = Measure<v1::SampleRequest>(request.SerializeAsString(), limits, size);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "params must have at most 4 entries, as many as a call may have rows, got more");
  request.mutable_params()->RemoveLast();
  EXPECT_TRUE(Measure<v1::SampleRequest>(request.SerializeAsString(), limits, size).ok());
}

TEST(ParsedSizeLimitTest, ParametersOfARepeatedOpenAreCountedTogether) {
  v1::SampleStreamRequest request;
  for (int i = 0; i < 3; ++i) request.mutable_open()->add_params();
  const std::string once = request.SerializeAsString();
  ParsedSize size;
  const ParseLimits limits = {.max_rows = 4, .max_bytes = 1 << 20};
  EXPECT_TRUE(Measure<v1::SampleStreamRequest>(once, limits, size).ok());
  const absl::Status status = Measure<v1::SampleStreamRequest>(once + once, limits, size);
  EXPECT_THAT(std::string(status.message()), HasSubstr("open.params must have at most 4"));
}

TEST(ParsedSizeLimitTest, WhatWouldTakeMoreThanTheLimitIsRefused) {
  v1::SampleRequest request;
  v1::SamplingParams& params = *request.add_params();
  for (int i = 0; i < 10'000; ++i) params.add_bad_words();
  const std::string message = request.SerializeAsString();
  ParsedSize size;
  ASSERT_TRUE(Measure<v1::SampleRequest>(message, kNoLimits, size).ok());
  EXPECT_GT(size.kept, 10 * message.size());
  const absl::Status status =
      Measure<v1::SampleRequest>(message, {.max_rows = 4, .max_bytes = size.kept - 1}, size);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("once it is parsed"));
}

TEST(ParsedSizeLimitTest, ATensorThatStaysInPlaceTakesNothing) {
  v1::SampleRequest request;
  request.mutable_tensor()->set_data("");
  ParsedSize without;
  ASSERT_TRUE(Measure<v1::SampleRequest>(request.SerializeAsString(), kNoLimits, without).ok());
  request.mutable_tensor()->set_data(std::string(1 << 20, 'v'));
  ParsedSize with;
  ASSERT_TRUE(Measure<v1::SampleRequest>(request.SerializeAsString(), kNoLimits, with).ok());
  EXPECT_EQ(with.kept, without.kept);
  EXPECT_LT(with.scratch, 1000u);
  v1::VerifyDraftRequest draft;
  *draft.mutable_target() = request.tensor();
  ASSERT_TRUE(Measure<v1::VerifyDraftRequest>(draft.SerializeAsString(), kNoLimits, with).ok());
  EXPECT_GT(with.kept, 1u << 20);
}

TEST(ParsedSizeLimitTest, WhatIsNoMessageIsRefused) {
  ParsedSize size;
  for (const std::string bytes :
       {"\x0a", "\x0a\x05\x01", "\x07", "\xff\xff\xff\xff\xff\xff", "\x0b"}) {
    EXPECT_EQ(Measure<v1::SampleRequest>(bytes, kNoLimits, size),
              absl::InvalidArgumentError("the request's " + std::to_string(bytes.size()) +
                                         " bytes are not a valid token_sampler.v1.SampleRequest"));
  }
}

}  // namespace
}  // namespace token_sampler
