// The client library of token-sampler: rows of logits or weights in, token ids out.
//
//   absl::StatusOr<SamplerClient> client = SamplerClient::Connect("127.0.0.1:50051");
//   SampleRequest request;
//   request.matrix = Float32Matrix(logits, vocab);  // a span of [rows, vocab] floats
//   request.params = {{.temperature = 0.8, .top_p = 0.95}};
//   request.keys.seeds = {42};  // of which row r draws from stream r
//   absl::StatusOr<SampleResult> result = client->Sample(request);
//   uint32_t token = result->rows[0].token_ids[0];
//
// Plain C++ types alone: no protobuf, no gRPC. Meanings, ranges and defaults are those of
// proto/token_sampler/v1, which the server checks; a field that is not set takes its default there.

#ifndef TOKEN_SAMPLER_CLIENT_SAMPLER_CLIENT_H_
#define TOKEN_SAMPLER_CLIENT_SAMPLER_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace token_sampler::client {

enum class DataType : uint8_t { kFloat32, kFloat16, kBFloat16, kFloat64 };

// Bytes per element.
size_t ElementSize(DataType type);

// "f32", "f16", "bf16" or "f64".
absl::string_view DataTypeName(DataType type);

// Rows in memory that is registered with the server; see token_sampler/shared_region.h.
struct RegionRows {
  std::string name;         // of the region
  uint64_t offset = 0;      // of row 0, in bytes
  uint64_t row_stride = 0;  // bytes from row to row; 0: rows without gaps
};

// Device memory of this process that the server is to read where it lies.
struct CudaRegion {
  std::string handle;      // the 64 bytes of a cudaIpcMemHandle_t
  std::string event = {};  // those of a cudaIpcEventHandle_t that is recorded behind what is
                           // written; empty: what a call reads was written before the call
  uint32_t device = 0;     // as the server counts its devices
  uint64_t offset = 0;     // in bytes from the start of the allocation, a multiple of 8
  uint64_t byte_size = 0;
};

// The likeliest tokens of each row, which then are all that is sent. No token that is left out may
// be likelier than any candidate of its row. A row's draw is that of the whole row unless its code
// says kApproximate, or kInexact when that is refused.
struct Candidates {
  std::vector<uint32_t> lengths;    // [rows], each 1 .. vocab
  std::vector<uint32_t> token_ids;  // [sum of lengths], no id twice in one row

  // The caller's knowledge of the tokens that are left out, per row: log(sum(exp(logit))) over
  // them, and how many of them can be drawn at all. [rows], or empty if unknown.
  std::vector<double> rest_log_sum_exp = {};
  std::vector<uint32_t> rest_counts = {};

  bool reject_inexact = false;  // fail rows whose draw may differ from the whole row's
};

// [rows, vocab] values, row-major, little-endian, without padding.
struct Matrix {
  const void* values = nullptr;
  size_t byte_size = 0;  // rows * vocab * ElementSize(dtype)
  DataType dtype = DataType::kFloat32;
  int64_t rows = 0;   // 1 .. 2^32 - 1
  int64_t vocab = 0;  // 1 .. 2^32 - 1

  // Null: the values are copied when the request is encoded, and need not outlive that. Else they
  // are sent from where they are, and `owner` keeps them alive until the transport is done with
  // them, which may be later than the end of the call.
  std::shared_ptr<const void> owner;

  // The place at which the server finds the values, instead of `values` and `byte_size`.
  std::optional<RegionRows> region = {};

  // If set, only candidates are sent instead of whole rows: `values` are those of
  // candidates->token_ids, in their order, and are copied. Only Sample takes candidates.
  std::optional<Candidates> candidates = {};
};

// A matrix over values.size() / vocab rows. A size that is no multiple of vocab fails the call.
Matrix Float32Matrix(absl::Span<const float> values, int64_t vocab);
Matrix Float64Matrix(absl::Span<const double> values, int64_t vocab);
// The values as bits: IEEE binary16, and the upper half of a float32.
Matrix Float16Matrix(absl::Span<const uint16_t> values, int64_t vocab);
Matrix BFloat16Matrix(absl::Span<const uint16_t> values, int64_t vocab);

// The meaning of the values.
enum class InputKind : uint8_t {
  kLogits,   // softmax is applied
  kWeights,  // as torch.multinomial: used as they are
};

enum class TiePolicy : uint8_t { kExactlyK, kKeepAll };
enum class InvalidValuePolicy : uint8_t { kFail, kSanitize, kSanitizeUniform };
enum class StagePreset : uint8_t { kVllm, kHf, kLlamaCpp, kSglang };

// Numbers are those of token_sampler.v1.Stage.
enum class Stage : uint8_t {
  kTemperature = 1,
  kMinP = 2,
  kTopK = 3,
  kTopP = 4,
  kTypicalP = 5,
  kEpsilon = 6,
  kEta = 7,
  kTopNSigma = 8,
  kPLess = 9,
  kXtc = 10,
  kMirostat = 11,
  kAdaptiveP = 12,
  kTopKTopP = 13,
  kTopA = 14,
};
struct NamedStage {
  Stage stage;
  const char* name;  // of token_sampler.v1.Stage in lower case, without its prefix
};
inline constexpr NamedStage kNamedStages[] = {
    {Stage::kTemperature, "temperature"},
    {Stage::kMinP, "min_p"},
    {Stage::kTopK, "top_k"},
    {Stage::kTopP, "top_p"},
    {Stage::kTypicalP, "typical_p"},
    {Stage::kEpsilon, "epsilon"},
    {Stage::kEta, "eta"},
    {Stage::kTopNSigma, "top_n_sigma"},
    {Stage::kPLess, "p_less"},
    {Stage::kXtc, "xtc"},
    {Stage::kMirostat, "mirostat"},
    {Stage::kAdaptiveP, "adaptive_p"},
    {Stage::kTopKTopP, "top_k_top_p"},
    {Stage::kTopA, "top_a"},
};

struct TemperatureSchedule {
  bool exponential = false;  // else linear
  double begin = 1.0;
  double end = 1.0;
  uint32_t num_steps = 1;
};

struct DynamicTemperature {
  double range = 0.0;
  double exponent = 1.0;
};

struct Xtc {
  double probability = 0.0;  // 0: off
  double threshold = 0.1;
};

struct Mirostat {
  uint32_t version = 2;
  double tau = 5.0;
  double eta = 0.1;
};

struct AdaptiveP {
  double target = 0.5;
  double decay = 0.9;
};

struct TopPDecay {
  double decay = 1.0;
  double min = 1e-6;
  std::vector<uint32_t> reset_ids = {};
};

struct Dry {
  double multiplier = 0.0;  // 0: off
  double base = 1.75;
  uint32_t allowed_length = 2;
  int32_t last_n = -1;
  std::vector<std::vector<uint32_t>> breakers = {};
};

struct TokenBias {
  uint32_t token_id = 0;
  float value = 0.0f;
};

// How a row is sampled: the fields of token_sampler.v1.SamplingParams.
struct SamplingParams {
  std::optional<double> temperature = {};    // 0 (greedy) or [1e-6, 1e6], default 1
  std::optional<uint32_t> num_samples = {};  // draws per row, >= 1, default 1
  std::optional<bool> replacement = {};      // whether a token may be drawn again, default false
  std::optional<uint32_t> top_k = {};        // default 0 (off)
  std::optional<double> top_p = {};          // [0, 1], default 1 (off)
  std::optional<double> min_p = {};          // [0, 1], default 0 (off)

  std::optional<TemperatureSchedule> temperature_schedule = {};
  std::optional<DynamicTemperature> dynamic_temperature = {};
  std::optional<double> greedy_threshold = {};
  std::optional<InvalidValuePolicy> invalid_values = {};

  std::optional<TiePolicy> top_k_ties = {};
  std::optional<TopPDecay> top_p_decay = {};
  std::optional<double> typical_p = {};
  std::optional<double> epsilon_cutoff = {};
  std::optional<double> eta_cutoff = {};
  std::optional<double> top_n_sigma = {};
  std::optional<double> top_a = {};
  std::optional<bool> p_less = {};
  std::optional<Xtc> xtc = {};
  std::optional<Mirostat> mirostat = {};
  std::optional<AdaptiveP> adaptive_p = {};
  std::optional<uint32_t> min_tokens_to_keep = {};
  std::optional<StagePreset> stage_preset = {};
  std::vector<Stage> stage_order = {};  // instead of a preset

  std::vector<uint32_t> allowed_ids = {};
  std::vector<uint32_t> banned_ids = {};
  std::vector<std::vector<uint32_t>> bad_words = {};
  std::optional<uint32_t> min_tokens = {};  // needs stop_ids
  std::vector<uint32_t> stop_ids = {};
  std::vector<TokenBias> logit_bias = {};
  std::optional<double> repetition_penalty = {};
  std::optional<double> frequency_penalty = {};
  std::optional<double> presence_penalty = {};
  std::optional<int32_t> penalty_last_n = {};
  std::optional<uint32_t> no_repeat_ngram_size = {};
  std::optional<Dry> dry = {};
};

// Describes a scalar parameter to the users of a program that offers it.
struct ScalarDescription {
  const char* name;        // of the field of token_sampler.v1.SamplingParams
  const char* value_name;  // of what its value stands for, "" for a switch
  const char* help;        // with the default in brackets
  enum class Group : uint8_t { kDraw, kFilter, kAdjustment } group;
};

// Calls f(member, description) for each member of SamplingParams that is one number or switch.
// `params` may be const.
template <typename Params, typename F>
void ForEachScalar(Params& params, F f) {
  using D = ScalarDescription;
  using G = D::Group;
  f(params.temperature, D{"temperature", "T", "Divide the logits by T; 0 is greedy [1]", G::kDraw});
  f(params.num_samples, D{"num_samples", "N", "Draw N tokens per row [1]", G::kDraw});
  f(params.replacement, D{"replacement", "", "Let a row's draws repeat a token", G::kDraw});
  f(params.greedy_threshold,
    D{"greedy_threshold", "P", "Be greedy where the largest probability is at least P", G::kDraw});
  f(params.top_k, D{"top_k", "N", "Keep the N likeliest tokens; 0 is off [0]", G::kFilter});
  f(params.top_p, D{"top_p", "P", "Keep the likeliest tokens that reach mass P [1]", G::kFilter});
  f(params.min_p, D{"min_p", "P", "Keep tokens of at least P times the largest [0]", G::kFilter});
  f(params.typical_p,
    D{"typical_p", "P", "Keep the most typical tokens that reach mass P [1]", G::kFilter});
  f(params.epsilon_cutoff,
    D{"epsilon_cutoff", "P", "Keep tokens of probability P or more [0]", G::kFilter});
  f(params.eta_cutoff,
    D{"eta_cutoff", "P", "The same with a cutoff that falls as the entropy rises [0]", G::kFilter});
  f(params.top_n_sigma,
    D{"top_n_sigma", "N", "Keep logits within N standard deviations of the largest [0]",
      G::kFilter});
  f(params.top_a,
    D{"top_a", "A", "Keep tokens of at least A times the square of the largest probability [0]",
      G::kFilter});
  f(params.p_less, D{"p_less", "", "Keep tokens of at least the expected probability", G::kFilter});
  f(params.min_tokens_to_keep,
    D{"min_tokens_to_keep", "N", "Keep N tokens or more in every filter [1]", G::kFilter});
  f(params.min_tokens,
    D{"min_tokens", "N", "Ban stop ids below step N; 0 is off [0]", G::kAdjustment});
  f(params.repetition_penalty,
    D{"repetition_penalty", "R",
      "Divide the logits of tokens in the history by R, or multiply those below 0 [1]",
      G::kAdjustment});
  f(params.frequency_penalty,
    D{"frequency_penalty", "F", "Subtract F for each time that a token was generated [0]",
      G::kAdjustment});
  f(params.presence_penalty,
    D{"presence_penalty", "F", "Subtract F from each token that was generated [0]",
      G::kAdjustment});
  f(params.penalty_last_n,
    D{"penalty_last_n", "N", "Penalize only the newest N tokens of the history; -1 is all [-1]",
      G::kAdjustment});
  f(params.no_repeat_ngram_size,
    D{"no_repeat_ngram_size", "N", "Ban tokens that would repeat N tokens; 0 is off [0]",
      G::kAdjustment});
}

// A token with how often it occurred, at least once.
struct TokenCount {
  uint32_t token_id = 0;
  uint32_t count = 1;
};

// The tokens of a row's sequence so far, for penalties and the like: in order, or as a set and
// counts if no rule needs the order. All rows of a request must give it in the same way. An empty
// history says that there are no tokens yet; a row at a step above 0 whose parameters need a
// history must have one.
struct History {
  std::vector<uint32_t> prompt_ids = {};
  std::vector<uint32_t> output_ids = {};
  std::vector<uint32_t> prompt_set = {};       // instead of prompt_ids
  std::vector<TokenCount> output_counts = {};  // instead of output_ids; no token twice

  bool empty() const {
    return prompt_ids.empty() && output_ids.empty() && prompt_set.empty() && output_counts.empty();
  }
};

// The state that stateful stages carry from one step to the next: pass RowResult::state back.
struct RowState {
  std::optional<double> mirostat_mu = {};
  std::optional<double> adaptive_p_sum = {};
  std::optional<double> adaptive_p_weight = {};
  std::optional<double> top_p = {};
};

// The generator of each row. Each holds one entry per row, or one for all rows, or none.
struct RowKeys {
  std::vector<uint64_t> seeds;    // none: the server chooses, below 2^63, see RowResult::seed
  std::vector<uint64_t> steps;    // none: 0
  std::vector<uint32_t> streams;  // none: 0, but 0, 1, 2 ... for several rows of one seed
};

// The distribution from which log-probabilities are taken.
enum class LogprobMode : uint8_t {
  kRaw,        // the row as sent
  kProcessed,  // what the token was drawn from: after temperature and filters
};

// The outputs besides the tokens.
struct OutputOptions {
  bool logprobs = false;      // of each drawn token
  uint32_t top_logprobs = 0;  // the n likeliest tokens with theirs
  LogprobMode logprob_mode = LogprobMode::kRaw;
  bool ranks = false;               // of each drawn token, 1 = likeliest
  bool ranks_count_equals = false;  // as vLLM: how many tokens are at least as likely
  bool kept_count = false;          // how many tokens the filters kept
  bool kept_set = false;            // which, with their log-probabilities
  bool entropy = false;             // nats
  bool extremes = false;            // the largest and the smallest probability
  double gumbel_softmax = 0.0;      // temperature of relaxed one-hot vectors; 0: none
};

struct SampleRequest {
  Matrix matrix;
  InputKind kind = InputKind::kLogits;
  std::vector<SamplingParams> params;  // profiles; none: the defaults for every row
  std::vector<uint32_t> row_params;    // [rows] indices into params; none: params[0] for every row
  RowKeys keys;
  std::vector<History> histories;  // [rows], or none
  bool skip_unknown_ids = false;   // take histories with ids at or above vocab, which match nothing
  std::vector<RowState> states;    // [rows], or none
  std::string bitmask;  // [rows, ceil(vocab / 32)] int32 words, or empty: a grammar's mask
  OutputOptions outputs;
};

// Why a row has no tokens, or what was done to it. Numbers are those of token_sampler.v1.RowCode;
// a server of a later version may send others.
enum class RowCode : int {
  kOk = 0,
  kSanitized = 1,
  kUniform = 2,
  kApproximate = 3,
  kInvalidParams = 10,
  kNan = 11,
  kInfinite = 12,
  kNegative = 13,
  kAllMasked = 14,
  kZeroSum = 15,
  kTooFewTokens = 16,
  kInvalidInput = 17,
  kInexact = 18,
};

// "OK", "NAN", "ALL_MASKED" ...; "CODE_<n>" for a number that this library does not know.
std::string RowCodeName(RowCode code);

struct TokenLogprob {
  uint32_t token_id = 0;
  float logprob = 0.0f;  // natural logarithm
};

struct RowResult {
  RowCode code = RowCode::kOk;
  std::string message;                     // why the row failed, or what was done to it
  std::vector<uint32_t> token_ids;         // [num_samples] in draw order; empty when it failed
  std::vector<float> logprobs;             // [num_samples] when asked for
  std::vector<TokenLogprob> top_logprobs;  // likeliest first, when asked for
  std::vector<uint32_t> ranks;             // [num_samples] when asked for
  std::optional<uint32_t> kept_count;      // what follows: when asked for
  std::vector<TokenLogprob> kept_set;      // by ascending id
  std::optional<double> entropy;
  std::optional<double> max_probability;
  std::optional<double> min_probability;
  std::vector<float> gumbel_softmax;    // [num_samples, vocab]
  RowState state;                       // for the next step, of stateful stages
  std::optional<uint32_t> skipped_ids;  // of the history, with skip_unknown_ids
  // The row was drawn with these; sending them again repeats the draw.
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t stream = 0;

  // True if the row has no tokens.
  bool failed() const { return code >= RowCode::kInvalidParams; }
};

struct SampleResult {
  uint32_t spec_version = 0;    // of sampler/SPEC.md, which the draws follow
  std::vector<RowResult> rows;  // one per row of the request
};

// A row's distribution before, between or after its stages.
struct StageView {
  std::string
      stage;  // "input", "adjusted", then the stages that are on: "temperature", "top_k" ...
  uint32_t kept_count = 0;
  double entropy = 0.0;  // nats
  double max_probability = 0.0;
  double min_probability = 0.0;
  double removed_mass = 0.0;               // probability that this stage took away
  std::vector<TokenLogprob> top_logprobs;  // likeliest first
};

struct Description {
  RowCode code = RowCode::kOk;
  std::string message;
  std::vector<StageView> stages;        // empty when the row failed
  std::optional<uint32_t> skipped_ids;  // as RowResult's
};

// Tokens that were drafted for one sequence (speculative decoding).
struct DraftSequence {
  std::vector<uint32_t> token_ids = {};  // may be none
  std::vector<int32_t> parents = {};     // of a tree: each token's, an earlier one or -1; none: the
                                         // tokens are a chain
};

struct VerifyDraftRequest {
  // The target model's rows: for each sequence the row before its first drafted token, then one
  // after each drafted token.
  Matrix target;
  InputKind kind = InputKind::kLogits;

  // The draft model's rows, from which the drafted tokens were drawn, one per token. None: they
  // were chosen without chance. Weights are final probabilities; logits go through the parameters
  // as the target's do.
  std::optional<Matrix> draft = {};
  std::optional<InputKind> draft_kind = {};  // none: as kind

  std::vector<DraftSequence> sequences = {};
  std::vector<SamplingParams> params = {};     // profiles; none: the defaults for every sequence
  std::vector<uint32_t> sequence_params = {};  // [sequences] indices into params, or none
  RowKeys keys = {};                           // per sequence; the step of its first drafted token
  std::vector<History> histories = {};         // [sequences] before their drafts, or none
  bool skip_unknown_ids = false;               // as SampleRequest's
  std::string bitmask = {};  // [target.rows, ceil(vocab / 32)] int32 words, or empty
};

struct DraftResult {
  RowCode code = RowCode::kOk;
  std::string message;                   // names the row, and why the sequence failed
  uint32_t accepted = 0;                 // how many drafted tokens were accepted
  std::vector<uint32_t> token_ids;       // [accepted + 1], the last drawn anew; empty if it failed
  std::vector<uint32_t> accepted_nodes;  // [accepted] when a sequence of the call is a tree
  uint64_t seed = 0;
  uint32_t stream = 0;
  std::optional<uint32_t> skipped_ids;  // as RowResult's

  // True if the sequence has no tokens.
  bool failed() const { return code >= RowCode::kInvalidParams; }
};

struct VerifyDraftResult {
  uint32_t spec_version = 0;           // of sampler/SPEC.md
  std::vector<DraftResult> sequences;  // one per sequence of the request
};

struct ServerInfo {
  std::string version;
  uint32_t spec_version = 0;
  std::string backend;  // "reference", "cpu" or "cuda"
  std::string device;   // what it runs on, in words
  uint32_t max_rows = 0;
  uint32_t max_vocab = 0;
  uint64_t max_message_bytes = 0;    // of one request
  uint64_t max_response_bytes = 0;   // that an answer could have; 0: an older server
  uint64_t memory_budget_bytes = 0;  // of what all callers make it hold; 0: an older server
  uint32_t max_num_samples = 0;
  std::vector<std::string> features;  // names of the parameters, outputs and calls it has

  // Rows that the CUDA backend left to the CPU since the server started, by what its kernel does
  // not do.
  struct Fallback {
    std::string reason;
    uint64_t rows = 0;
  };
  std::vector<Fallback> fallbacks;
};

// Numbers are those of grpc.health.v1.HealthCheckResponse.ServingStatus.
enum class HealthStatus : int { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

// "SERVING", "NOT_SERVING" ...
absl::string_view HealthStatusName(HealthStatus status);

struct ClientOptions {
  // From the start of a call to its answer; > 0. A call that takes longer is DeadlineExceeded.
  absl::Duration timeout = absl::Seconds(30);

  // The largest request that is sent, 1 .. 2^31 - 1 bytes (gRPC's own limit). A larger one is
  // InvalidArgument before anything is sent. Answers may have any size.
  int64_t max_message_bytes = INT32_MAX;

  // TCP connections, 1 .. 1024, used in turn. One moves about 1 GB/s; more help when requests are
  // large and several are in flight. The server takes 256 calls of a connection at once; further
  // ones wait in the client.
  int channels = 1;
};

// A request in the form in which it is sent, for a caller that sends it more than once. Copies
// share the bytes.
class EncodedRequest {
 public:
  // InvalidArgument when the matrix contradicts itself or is larger than gRPC can send.
  static absl::StatusOr<EncodedRequest> Create(const SampleRequest& request);

  int64_t rows() const { return rows_; }
  int64_t byte_size() const { return byte_size_; }

 private:
  friend class SamplerClient;
  struct Message;

  EncodedRequest() = default;

  std::shared_ptr<const Message> message_;
  int64_t rows_ = 0;
  int64_t byte_size_ = 0;
};

class SequenceStream;
class SharedRegion;

// A connection to one server. Thread-safe. Connects directly: http_proxy is not looked at.
//
// Errors keep the server's code and message: InvalidArgument for a request that it refuses,
// ResourceExhausted when its queue is full, Unavailable when nothing answers at the address or the
// server is stopping, DeadlineExceeded after ClientOptions::timeout.
class SamplerClient {
 public:
  // Address: "host:port", "unix:/path", or another gRPC target ("dns:///name:port"). Returns at
  // once; the connection is made by the first call. InvalidArgument for a malformed address or
  // option.
  static absl::StatusOr<SamplerClient> Connect(absl::string_view address,
                                               const ClientOptions& options = {});

  SamplerClient(SamplerClient&&) noexcept;
  SamplerClient& operator=(SamplerClient&&) noexcept;
  ~SamplerClient();

  // Samples every row. A row that fails leaves the call OK; see RowResult::failed().
  absl::StatusOr<SampleResult> Sample(const SampleRequest& request) const;

  // Does the same without waiting. `done` runs once, on a thread of gRPC, and must not block there;
  // when the request cannot be sent it runs before SampleAsync returns. The client's destructor
  // waits for the calls in flight, so `done` must not destroy the client or assign to it.
  using SampleCallback = std::function<void(absl::StatusOr<SampleResult>)>;
  void SampleAsync(const SampleRequest& request, SampleCallback done) const;
  void SampleAsync(const EncodedRequest& request, SampleCallback done) const;

  // Returns what each stage does to the request's one row, with its `top_n` likeliest tokens. The
  // request must not ask for outputs.
  absl::StatusOr<Description> Describe(const SampleRequest& request, uint32_t top_n) const;

  // Returns the drafted tokens that the target accepts, and the token after them. The call is OK
  // even if a sequence fails; see DraftResult::failed().
  absl::StatusOr<VerifyDraftResult> VerifyDraft(const VerifyDraftRequest& request) const;

  // Opens a stream of sequences that live in the server; see token_sampler/sequence_stream.h. The
  // stream may outlive the client.
  SequenceStream OpenStream() const;

  // Makes the shared-memory object `key` (as of shm_open) known to the server under a name. The
  // server's refusals keep their codes: proto/token_sampler/v1/tensor.proto.
  absl::Status RegisterRegion(absl::string_view name, absl::string_view key, uint64_t offset,
                              uint64_t byte_size) const;

  // Does the same for device memory, which must not be freed before UnregisterRegion has returned.
  absl::Status RegisterRegion(absl::string_view name, const CudaRegion& region) const;

  // Returns after the last call that reads the region. NotFound if no region has that name.
  absl::Status UnregisterRegion(absl::string_view name) const;

  absl::StatusOr<ServerInfo> GetServerInfo() const;

  // Returns the health of a service, "" for the whole server. NotFound if the server does not know
  // the service.
  absl::StatusOr<HealthStatus> CheckHealth(absl::string_view service = "") const;

 private:
  friend class SharedRegion;
  class Connection;

  explicit SamplerClient(std::shared_ptr<Connection> connection);

  // Returns a function that unregisters the region, even after the client was moved or destroyed.
  std::function<void()> Unregisterer(const std::string& name) const;

  std::shared_ptr<Connection> connection_;  // with the regions that it has registered
};

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_SAMPLER_CLIENT_H_
