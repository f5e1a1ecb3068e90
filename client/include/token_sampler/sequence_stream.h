// Sequences that live in the server, for continuous batching: a sequence is opened once with
// parameters, seed and prompt; then each step takes one row.
//
//   SequenceStream stream = client->OpenStream();
//   stream.Open({.vocab = 128256, .params = {{.top_p = 0.9}}, .sequences = {{.sequence_id = 7}}});
//   StepRequest step;
//   step.sequence_ids = {7};
//   step.matrix = Float32Matrix(logits, 128256);
//   absl::StatusOr<StepResult> result = stream.Step(step);
//   uint32_t token = result->sampled.rows[0].token_ids[0];

#ifndef TOKEN_SAMPLER_CLIENT_SEQUENCE_STREAM_H_
#define TOKEN_SAMPLER_CLIENT_SEQUENCE_STREAM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

class StreamCall;

struct SequenceStart {
  uint64_t sequence_id = 0;               // any that is not open on this stream
  uint32_t params = 0;                    // index into OpenRequest::params
  std::optional<uint64_t> seed = {};      // none: the server chooses
  uint32_t stream = 0;                    // the generator's stream
  std::optional<uint64_t> step = {};      // step of the next token; none: the number of output_ids
  std::vector<uint32_t> prompt_ids = {};  // each below vocab, unless skip_unknown_ids
  std::vector<uint32_t> output_ids = {};  // the same; for a sequence that is continued
  RowState state = {};                    // its newest state, if a stage is stateful
};

struct OpenRequest {
  uint32_t vocab = 0;
  std::vector<SamplingParams> params = {};  // none: the defaults; num_samples must be 1
  std::vector<SequenceStart> sequences = {};
  bool skip_unknown_ids = false;  // accept ids at or above vocab, which match nothing
};

struct OpenResult {
  std::vector<uint64_t> seeds;        // [sequences]
  std::vector<uint32_t> skipped_ids;  // [sequences] number skipped; only with skip_unknown_ids
};

struct StepRequest {
  std::vector<uint64_t> sequence_ids = {};  // [matrix.rows], no id twice
  Matrix matrix = {};
  InputKind kind = InputKind::kLogits;
  std::string bitmask = {};  // [rows, ceil(vocab / 32)] int32 words, or empty
  OutputOptions outputs = {};
};

struct StepResult {
  SampleResult sampled;            // a sequence whose row failed stays as it is
  std::vector<uint64_t> finished;  // sequences whose newest token is one of their stop_ids
};

// One stream to the server; the first request starts it. Not thread-safe: requests are answered one
// after the other, each within ClientOptions::timeout.
//
// If the server answers with an error, the stream and its sequences stay as they were. When the
// stream itself breaks, broken() is true and every request returns why. Its sequences are then
// gone; to continue them with the same tokens, open them on a new stream with their output_ids and
// newest state.
class SequenceStream {
 public:
  SequenceStream(SequenceStream&&) noexcept;
  SequenceStream& operator=(SequenceStream&&) noexcept;
  ~SequenceStream();  // closes the sequences

  // Opens sequences. AlreadyExists when one of them is open.
  absl::StatusOr<OpenResult> Open(const OpenRequest& request);

  // Draws the next token of each sequence. NotFound when one of them is not open.
  absl::StatusOr<StepResult> Step(const StepRequest& request);

  // Copies a sequence in its present state to `new_sequence_id`. The copy draws from the
  // generator's stream `stream`; none: the server chooses one that no open sequence of the same
  // seed has.
  absl::Status Fork(uint64_t sequence_id, uint64_t new_sequence_id,
                    std::optional<uint32_t> stream = {});

  // Takes back the newest tokens of a sequence. OutOfRange when there are fewer than that or the
  // server keeps fewer.
  absl::Status Rollback(uint64_t sequence_id, uint32_t num_tokens);

  absl::Status Close(const std::vector<uint64_t>& sequence_ids);

  bool broken() const;

 private:
  friend class SamplerClient;

  explicit SequenceStream(std::unique_ptr<StreamCall> call);

  std::unique_ptr<StreamCall> call_;
};

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_SEQUENCE_STREAM_H_
