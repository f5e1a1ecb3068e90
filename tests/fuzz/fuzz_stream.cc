// Fuzzes the requests of a stream, one after the other, as the service handles them: its sequences
// must hold only what the ledger has granted, a refused request must leave nothing behind, and a
// step must not take longer than estimated.

#include <fuzzer/FuzzedDataProvider.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/cpu/cpu_sampler.h"
#include "server/batching/work_estimate.h"
#include "server/codec/field_check.h"
#include "server/sequences/sequence_table.h"
#include "server/sequences/step_job.h"
#include "tests/fuzz/allocations.h"
#include "tests/fuzz/reading.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {
namespace {

constexpr uint32_t kMostVocab = 64;
constexpr uint64_t kMostIds = 8;  // of sequences, so that requests share some
constexpr size_t kMostRequests = 24;
constexpr size_t kMostTokens = 1 << 13;
// The most that a request may take besides what the ledger grants, for error messages. The time is
// for everything except sampling.
constexpr Taken kFree = {.bytes = 64 << 10, .seconds = 0.5};
// Memory that lasts from one request to the next must be granted, except for this much.
constexpr int64_t kFreeBetween = 8 << 10;
// Estimates are for optimised code and for rows that are not tiny. Under the sanitizers sampling
// may take this many times as long, and this many seconds more per row.
constexpr double kTimesEstimate = 50;
constexpr double kSecondsOfRow = 0.005;

Sampler& TheSampler() {
  static Sampler* const sampler = CreateCpuSampler({.threads = 1, .target = {}})->release();
  return *sampler;
}

// A stream of the service without gRPC and the queue.
class Stream {
 public:
  explicit Stream(uint64_t budget) : reading_(budget) {}
  ~Stream() {
    table_.reset();
    if (reading_.ledger.used() != 0) Fail("of a stream that has ended, bytes stay granted");
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void Take(const std::string& message) {
    const uint64_t before = reading_.ledger.used();
    bool steps = false;
    const absl::Status status = Apply(message, steps);
    reading_.grant.ShrinkTo(0);
    const auto granted = static_cast<int64_t>(reading_.ledger.used());
    if (Allocations::Held() > granted + kFreeBetween) {
      std::fprintf(stderr, "%lld bytes are held; granted, ",
                   static_cast<long long>(Allocations::Held()));
      Fail("bytes");
    }
    // A step first makes room for the tokens of its sequences, and the next step can use it.
    if (status.ok() || steps) return;
    if (reading_.ledger.used() != before) Fail("a refused request leaves bytes granted");
  }

  const Ledger& ledger() const { return reading_.ledger; }
  double sampling_seconds() const { return sampling_seconds_; }

 private:
  [[noreturn]] void Fail(const char* what) const {
    std::fprintf(stderr, "%s: %llu\n", what,
                 static_cast<unsigned long long>(reading_.ledger.used()));
    std::abort();
  }

  absl::Status Apply(const std::string& message, bool& steps) {
    v1::SampleStreamRequest request;
    SlicedBytes data;
    if (!Parse(message, reading_, request, data)) return absl::InvalidArgumentError("no request");
    if (absl::Status status = CheckFields(request); !status.ok()) return status;
    v1::SampleStreamResponse answer;
    MemoryGrant answer_memory(&reading_.ledger, Account::kAnswers);
    switch (request.request_case()) {
      case v1::SampleStreamRequest::kOpen: {
        const auto sequences = static_cast<uint64_t>(request.open().sequences_size());
        absl::Status status = answer_memory.Grow(64 * sequences);
        return status.ok() ? table_->Open(request.open(), nullptr, answer) : status;
      }
      case v1::SampleStreamRequest::kStep:
        steps = true;
        return Step(request.step(), data, answer, answer_memory);
      case v1::SampleStreamRequest::kFork:
        return table_->Fork(request.fork(), nullptr);
      case v1::SampleStreamRequest::kRollback:
        return table_->Rollback(request.rollback(), nullptr);
      case v1::SampleStreamRequest::kClose:
        return table_->Close(request.close());
      case v1::SampleStreamRequest::REQUEST_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError("no request");
  }

  absl::Status Step(const v1::StepSequences& step, const SlicedBytes& data,
                    v1::SampleStreamResponse& answer, MemoryGrant& answer_memory) {
    absl::Status done;
    StepJob job(answer, [&done](const absl::Status& status) { done = status; });
    absl::Status status = job.Decode(step, &data, reading_.context, *table_);
    if (status.ok()) status = answer_memory.Grow(job.answer().memory);
    if (status.ok()) status = Sample(job);
    job.Done(status);
    return done;
  }

  absl::Status Sample(StepJob& job) {
    double most = 0.0;
    WorkEstimator estimator;
    for (const RowInput& row : job.rows) {
      const uint64_t work = std::max(estimator.OfRow(row), estimator.OfRepairedRow(row));
      most += kSecondsOfRow + 1e-9 * kTimesEstimate * static_cast<double>(work);
    }
    job.results.resize(job.rows.size());
    const double begin = ProcessorSeconds();
    absl::Status status;
    {
      // The sampler keeps its buffers, for which the ledger does not account.
      const Uncounted uncounted;
      status = TheSampler().Sample(job.rows, absl::MakeSpan(job.results));
    }
    const double seconds = ProcessorSeconds() - begin;
    sampling_seconds_ += seconds;
    if (seconds > most) {
      std::fprintf(stderr, "sampling %zu rows takes %.4f s, at most %.4f by the estimate\n",
                   job.rows.size(), seconds, most);
      std::abort();
    }
    return status;
  }

  Reading reading_;
  SequenceLimits sequence_limits_ = {.max_tokens = kMostTokens};
  double sampling_seconds_ = 0.0;
  std::unique_ptr<SequenceTable> table_ =
      std::make_unique<SequenceTable>(reading_.context, sequence_limits_, &reading_.ledger);
};

// Makes requests that are mostly valid, because only those get far.
class RequestMaker {
 public:
  explicit RequestMaker(FuzzedDataProvider& data)
      : data_(data), vocab_(data.ConsumeIntegralInRange<uint32_t>(1, kMostVocab)) {}

  std::string Next() {
    v1::SampleStreamRequest request;
    switch (data_.ConsumeIntegralInRange(0, 7)) {
      case 0:
      case 1:
        MakeOpen(*request.mutable_open());
        break;
      case 2:
      case 3:
      case 4:
        MakeStep(*request.mutable_step());
        break;
      case 5:
        request.mutable_fork()->set_sequence_id(Id());
        request.mutable_fork()->set_new_sequence_id(Id());
        break;
      case 6:
        request.mutable_rollback()->set_sequence_id(Id());
        request.mutable_rollback()->set_num_tokens(data_.ConsumeIntegralInRange<uint32_t>(0, 4));
        break;
      default:
        request.mutable_close()->add_sequence_ids(Id());
        break;
    }
    std::string message = request.SerializeAsString();
    // Protobuf merges the bytes that follow.
    if (Rarely()) message += data_.ConsumeRandomLengthString(64);
    return message;
  }

 private:
  bool Rarely() { return data_.ConsumeIntegralInRange(0, 7) == 7; }
  uint64_t Id() { return data_.ConsumeIntegralInRange<uint64_t>(0, kMostIds - 1); }
  uint32_t Token() { return data_.ConsumeIntegralInRange<uint32_t>(0, vocab_); }

  void AddTokens(google::protobuf::RepeatedField<uint32_t>& ids) {
    // Repeat them, so that there are many repetitions to find.
    std::vector<uint32_t> some(data_.ConsumeIntegralInRange<size_t>(0, 4));
    for (uint32_t& token : some) token = std::min(Token(), vocab_ - 1);
    const size_t times = size_t{1} << data_.ConsumeIntegralInRange(0, 11);
    for (size_t i = 0; i < times; ++i) ids.Add(some.begin(), some.end());
  }

  void MakeParams(v1::SamplingParams& params) {
    if (data_.ConsumeBool()) {
      v1::Dry& dry = *params.mutable_dry();
      dry.set_multiplier(1.0);
      if (Rarely()) dry.set_allowed_length(data_.ConsumeIntegralInRange<uint32_t>(0, 3));
      if (Rarely()) dry.add_breakers()->add_token_ids(Token());
    }
    if (data_.ConsumeBool()) {
      params.set_no_repeat_ngram_size(data_.ConsumeIntegralInRange<uint32_t>(0, 4));
    }
    if (data_.ConsumeBool()) params.set_frequency_penalty(0.5);
    if (Rarely()) params.set_penalty_last_n(data_.ConsumeIntegralInRange(0, 8));
    if (Rarely()) params.mutable_mirostat()->set_version(2);
    if (Rarely()) params.set_top_k(data_.ConsumeIntegralInRange<uint32_t>(0, 8));
    if (Rarely()) params.add_banned_ids(Token());
    if (Rarely()) params.add_bad_words()->add_token_ids(Token());
    if (Rarely()) params.add_stop_ids(Token());
  }

  void MakeOpen(v1::OpenSequences& open) {
    open.set_vocab(vocab_);
    const int profiles = data_.ConsumeIntegralInRange(0, 2);
    for (int i = 0; i < profiles; ++i) MakeParams(*open.add_params());
    const int sequences = data_.ConsumeIntegralInRange(1, 3);
    for (int i = 0; i < sequences; ++i) {
      v1::OpenSequences::Sequence& sequence = *open.add_sequences();
      sequence.set_sequence_id(Id());
      sequence.set_seed(1);
      if (profiles > 0) sequence.set_params(static_cast<uint32_t>(i % profiles));
      AddTokens(*sequence.mutable_prompt_ids());
      if (data_.ConsumeBool()) AddTokens(*sequence.mutable_output_ids());
    }
  }

  void MakeStep(v1::StepSequences& step) {
    const auto first = Id();
    const auto rows = data_.ConsumeIntegralInRange<uint64_t>(1, 3);
    for (uint64_t row = 0; row < rows; ++row) step.add_sequence_ids((first + row) % kMostIds);
    v1::Tensor& tensor = *step.mutable_tensor();
    tensor.set_dtype(v1::DATA_TYPE_FLOAT16);
    tensor.set_rows(static_cast<uint32_t>(rows));
    tensor.set_vocab(vocab_);
    tensor.set_data(std::string(2 * rows * vocab_, '\0'));
    if (Rarely()) step.mutable_outputs()->set_top_logprobs(Token());
    if (Rarely()) step.mutable_outputs()->set_kept_set(true);
  }

  FuzzedDataProvider& data_;
  const uint32_t vocab_;
};

// Lets protobuf allocate what it keeps, which must not be counted.
void WarmUp() {
  v1::SampleStreamRequest open;
  open.mutable_open()->set_vocab(kMostVocab);
  open.mutable_open()->add_sequences()->set_sequence_id(0);
  v1::SampleStreamRequest step;
  step.mutable_step()->add_sequence_ids(0);
  v1::Tensor& tensor = *step.mutable_step()->mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT16);
  tensor.set_rows(1);
  tensor.set_vocab(kMostVocab);
  tensor.set_data(std::string(2 * kMostVocab, '\0'));
  Stream stream(uint64_t{1} << 30);
  stream.Take(open.SerializeAsString());
  stream.Take(step.SerializeAsString());
}

void TestOne(FuzzedDataProvider& data) {
  const uint64_t budget = data.PickValueInArray({uint64_t{1} << 30, uint64_t{1} << 16});
  RequestMaker maker(data);
  std::vector<std::string> requests;
  size_t bytes = 0;
  while (data.remaining_bytes() > 0 && requests.size() < kMostRequests) {
    requests.push_back(maker.Next());
    bytes += requests.back().size();
  }
  const double begin = ProcessorSeconds();
  const Allocations allocations;
  Stream stream(budget);
  for (const std::string& request : requests) stream.Take(request);
  const Taken taken = {.bytes = Allocations::Peak(),
                       .seconds = ProcessorSeconds() - begin - stream.sampling_seconds()};
  CheckTaken("SampleStream", bytes, taken, stream.ledger(), kFree);
}

}  // namespace
}  // namespace token_sampler

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto* const silence = new google::protobuf::LogSilencer;
  static_cast<void>(silence);
  FuzzedDataProvider data(bytes, size);
  token_sampler::TestOne(data);
  return 0;
}

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  token_sampler::WarmUp();
  return 0;
}
