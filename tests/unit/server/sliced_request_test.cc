// Tests that a request in pieces is parsed like protobuf parses it: whole, cut, mutated, and
// encoded in ways that no serializer uses.

#include "server/calls/sliced_request.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "sampler/reference/reference_sampler.h"
#include "server/calls/received_message.h"
#include "server/codec/request_codec.h"
#include "tests/testing/sliced_difference.h"

namespace token_sampler {
namespace {

// Fails if ParseSliced and protobuf disagree. Returns true if they parsed the message.
template <typename Request>
bool ExpectSameAsProtobuf(const std::string& message, std::mt19937& random) {
  bool parses = false;
  for (const size_t largest : {size_t{1}, size_t{7}, message.size() + 1}) {
    EXPECT_EQ(testing::SlicedDifference<Request>(message, largest, random, parses), "");
  }
  return parses;
}

template <typename Request>
Request RandomRequest(std::mt19937& random);

template <>
v1::SampleRequest RandomRequest(std::mt19937& random) {
  v1::SampleRequest request;
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT16);
  tensor.set_rows(static_cast<uint32_t>(random() % 5));
  tensor.set_vocab(static_cast<uint32_t>(random() % 1000));
  switch (random() % 4) {
    case 0:
      tensor.mutable_region()->set_name("region");
      break;
    case 1:
      tensor.mutable_candidates()->add_lengths(1);
      break;
    default:
      tensor.set_data(std::string(random() % 40, 'v'));
  }
  if (random() % 2 == 0) request.add_params()->set_top_p(0.9);
  if (random() % 2 == 0) request.mutable_keys()->add_seeds(random());
  if (random() % 4 == 0) request.mutable_bitmask()->set_words("words");
  return request;
}

template <>
v1::SampleStreamRequest RandomRequest(std::mt19937& random) {
  v1::SampleStreamRequest request;
  if (random() % 2 == 0) request.set_request_id(random());
  switch (random() % 5) {
    case 0:
      request.mutable_open()->set_vocab(5);
      break;
    case 1:
      request.mutable_fork()->set_sequence_id(1);
      break;
    default:
      v1::StepSequences& step = *request.mutable_step();
      if (random() % 2 == 0) step.add_sequence_ids(random());
      if (random() % 8 != 0)
        *step.mutable_tensor() = RandomRequest<v1::SampleRequest>(random).tensor();
  }
  return request;
}

template <typename T>
class SlicedRequestTest : public ::testing::Test {
 protected:
  using Request = T;

  static bool SameAsProtobuf(const std::string& message, std::mt19937& random) {
    return ExpectSameAsProtobuf<Request>(message, random);
  }
  static std::string RandomMessage(std::mt19937& random) {
    return RandomRequest<Request>(random).SerializeAsString();
  }

 private:
  // Protobuf would log a line for every string that is not UTF-8.
  google::protobuf::LogSilencer silence_;
};
using Requests = ::testing::Types<v1::SampleRequest, v1::SampleStreamRequest>;
TYPED_TEST_SUITE(SlicedRequestTest, Requests);

TEST(SlicedBytesTest, ReadsAcrossPieces) {
  std::mt19937 random(1);
  std::string message(300, '\0');
  for (char& c : message) c = static_cast<char>(random());
  const testing::Pieces pieces(message, 20, random);
  const SlicedBytes& bytes = pieces.bytes();
  ASSERT_EQ(bytes.size(), message.size());
  for (int i = 0; i < 500; ++i) {
    const size_t begin = random() % message.size();
    const size_t size = random() % (message.size() - begin + 1);
    const std::string expected = message.substr(begin, size);
    std::string read(size, '\0');
    EXPECT_TRUE(bytes.Read(begin, size, read.data()).ok());
    EXPECT_EQ(read, expected);
    EXPECT_EQ(testing::Contents(bytes.Part(begin, size)), expected);
    const char* const whole = bytes.Find(begin, size);
    if (whole != nullptr) {
      EXPECT_EQ(std::string(whole, size), expected);
    }
  }
  EXPECT_EQ(bytes.Find(0, message.size()), nullptr);
}

TYPED_TEST(SlicedRequestTest, ParsesRandomRequestsAsProtobufDoes) {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    EXPECT_TRUE(TestFixture::SameAsProtobuf(TestFixture::RandomMessage(random), random));
  }
  EXPECT_TRUE(TestFixture::SameAsProtobuf("", random));
}

TYPED_TEST(SlicedRequestTest, FieldsThatComeTwiceAreMergedAsProtobufDoes) {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string message;
    const size_t copies = 2 + random() % 3;
    for (size_t copy = 0; copy < copies; ++copy) message += TestFixture::RandomMessage(random);
    EXPECT_TRUE(TestFixture::SameAsProtobuf(message, random));
  }
}

TYPED_TEST(SlicedRequestTest, RefusesAndAcceptsWhatProtobufDoes) {
  std::mt19937 random(4);
  int parsed = 0;
  constexpr int kCases = 10'000;
  for (int i = 0; i < kCases; ++i) {
    std::string message = TestFixture::RandomMessage(random);
    if (random() % 3 == 0) message.resize(random() % (message.size() + 1));
    const size_t changes = random() % 4;
    for (size_t change = 0; change < changes && !message.empty(); ++change) {
      const size_t place = random() % message.size();
      switch (random() % 3) {
        case 0:
          message[place] = static_cast<char>(random());
          break;
        case 1:
          message.erase(place, 1);
          break;
        default:
          message.insert(place, 1, static_cast<char>(random()));
      }
    }
    parsed += TestFixture::SameAsProtobuf(message, random) ? 1 : 0;
    if (::testing::Test::HasFailure())
      FAIL() << "case " << i << ": " << absl::BytesToHexString(message);
  }
  // Both outcomes occurred often.
  EXPECT_GT(parsed, kCases / 5);
  EXPECT_LT(parsed, kCases - kCases / 5);
}

TEST(SlicedSampleRequestTest, LengthsBeyondTheEndAndGroupsWithoutOneAreRefused) {
  const google::protobuf::LogSilencer silence;
  std::mt19937 random(5);
  for (const std::string& message :
       {std::string("\x0a\x05\x22\xff\xff\xff\xff\x07"),   // a tensor of 5 bytes, data of 2^31 - 1
                                                           // bytes
        std::string("\x0a\x7f\x22\x01v"),                  // a tensor longer than the message
        std::string("\x0a\x06\x22\xff\xff\xff\xff\x0f"),   // data of 2^32 - 1 bytes
        std::string("\x0a\xff\xff\xff\xff\x0f"),           // a tensor of 2^32 - 1 bytes
        std::string("\x0a\x03\x22\x02v"),                  // data longer than its tensor
        std::string("\x0a\x01\x0b"), std::string("\x0b"),  // groups that do not end
        std::string("\x0c"), std::string("\x0a\x01\x0c"),  // groups that did not begin
        std::string("\x00", 1), std::string(200, '\x0b')}) {  // field 0, and too deep
    EXPECT_FALSE(ExpectSameAsProtobuf<v1::SampleRequest>(message, random));
  }
}

TEST(SlicedSampleRequestTest, TagsWrittenLongerThanNeededAreWhatTheyAreToProtobuf) {
  std::mt19937 random(6);
  // Field 1 with a tag of 5 bytes; then with a bit beyond 32.
  EXPECT_TRUE(ExpectSameAsProtobuf<v1::SampleRequest>({"\x8a\x80\x80\x80\x00\x00", 6}, random));
  ExpectSameAsProtobuf<v1::SampleRequest>({"\x8a\x80\x80\x80\x10\x00", 6}, random);
  // Tags of 6 bytes: the field, an unknown field, and a field in an unknown group.
  for (const std::string& message :
       {std::string("\x8a\x80\x80\x80\x80\x00\x00", 7), std::string("\x85\x87\xd8\xcc\xc2\x0d-abc"),
        std::string("\xfb\x7f\x85\x87\xd8\xcc\xc2\x0d-abc\xfc\x7f")}) {
    EXPECT_FALSE(ExpectSameAsProtobuf<v1::SampleRequest>(message, random));
  }
}

// Makes a random request, which usually can be sampled.
v1::SampleRequest RandomCall(std::mt19937& random) {
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  const auto bytes = [&](size_t size) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
  };
  constexpr std::pair<v1::DataType, size_t> kTypes[] = {{v1::DATA_TYPE_FLOAT32, 4},
                                                        {v1::DATA_TYPE_FLOAT16, 2},
                                                        {v1::DATA_TYPE_BFLOAT16, 2},
                                                        {v1::DATA_TYPE_FLOAT64, 8}};
  const auto& [dtype, size] = kTypes[random() % 4];
  const auto rows = static_cast<uint32_t>(1 + random() % 4);
  // Small enough to be parsed whole, or not.
  const auto vocab = static_cast<uint32_t>(1 + random() % 40 + (one_in(2) ? 4096 : 0));
  v1::SampleRequest request;
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(one_in(30) ? v1::DATA_TYPE_UNSPECIFIED : dtype);
  tensor.set_rows(rows);
  tensor.set_vocab(vocab);
  if (one_in(8)) {
    v1::Candidates& candidates = *tensor.mutable_candidates();
    for (uint32_t row = 0; row < rows; ++row) {
      candidates.add_lengths(1);
      candidates.add_token_ids(static_cast<uint32_t>(random() % (vocab + 1)));
    }
    candidates.set_values(bytes(rows * size));
  } else if (!one_in(20)) {
    tensor.set_data(bytes(rows * vocab * size - (one_in(20) ? 1 : 0)));
  }
  if (one_in(2)) {
    v1::SamplingParams& params = *request.add_params();
    params.set_top_p(one_in(10) ? 1.5 : 0.9);
    params.set_num_samples(static_cast<uint32_t>(1 + random() % 3));
    params.set_replacement(true);
  }
  request.mutable_keys()->add_seeds(random());
  if (one_in(4)) request.mutable_bitmask()->set_words(bytes(rows * ((vocab + 31) / 32) * 4));
  if (one_in(4)) request.mutable_outputs()->set_logprobs(true);
  if (one_in(4)) request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  return request;
}

struct Outcome {
  absl::Status status;
  std::string answer;
  bool in_pieces = false;  // true: some row is in several pieces
};

// Does what the service does with a request. Its tensor is `data`, unless that is null.
Outcome SampleCall(const v1::SampleRequest& request, const SlicedBytes* data) {
  static Sampler& sampler = *CreateReferenceSampler().release();
  DecodedSample decoded;
  Outcome outcome;
  outcome.status = DecodeSample(request, CallContext(), decoded, data);
  if (!outcome.status.ok()) return outcome;
  for (const RowInput& row : decoded.inputs) outcome.in_pieces |= row.source != nullptr;
  std::vector<RowResult> results(decoded.inputs.size());
  outcome.status = sampler.Sample(decoded.inputs, absl::MakeSpan(results));
  FinishCandidates(decoded.candidates, absl::MakeSpan(results));
  v1::SampleResponse response;
  EncodeSample(decoded, results, response);
  outcome.answer = response.SerializeAsString();
  return outcome;
}

// Copies the bytes into separate slices, like those of a transport.
grpc::ByteBuffer InSlices(const std::string& message, std::mt19937& random) {
  std::vector<grpc::Slice> slices;
  for (size_t begin = 0; begin < message.size();) {
    const size_t size = std::min<size_t>(1 + random() % 64, message.size() - begin);
    slices.emplace_back(message.data() + begin, size);
    begin += size;
  }
  return {slices.data(), slices.size()};
}

TEST(SlicedSampleRequestTest, IsAnsweredAsTheWholeMessageIs) {
  std::mt19937 random(7);
  constexpr int kCases = 3000;
  int sampled = 0;
  int in_pieces = 0;
  for (int i = 0; i < kCases; ++i) {
    const std::string message = RandomCall(random).SerializeAsString();
    v1::SampleRequest whole;
    ASSERT_TRUE(whole.ParseFromString(message));
    const Outcome expected = SampleCall(whole, nullptr);
    ReceivedMessage<v1::SampleRequest> received{CallContext()};
    ASSERT_TRUE(received.Parse(InSlices(message, random)).ok());
    const Outcome outcome = SampleCall(received.request(), received.data());
    ASSERT_EQ(outcome.status, expected.status) << whole.ShortDebugString();
    ASSERT_EQ(outcome.answer, expected.answer) << whole.ShortDebugString();
    sampled += outcome.status.ok() ? 1 : 0;
    in_pieces += outcome.in_pieces ? 1 : 0;
  }
  // Answers, refusals and rows in several slices occurred often.
  EXPECT_GT(sampled, kCases / 2);
  EXPECT_LT(sampled, kCases - kCases / 10);
  EXPECT_GT(in_pieces, kCases / 4);
}

}  // namespace
}  // namespace token_sampler
