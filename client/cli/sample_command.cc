// `sample`: the rows of a .npy file in, tokens out. `describe`: one of them, stage by stage.

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/flags/flags.h"
#include "client/cli/flags/npy.h"
#include "client/cli/flags/row_flags.h"
#include "client/cli/flags/sampling_flags.h"
#include "client/cli/reports/describe_report.h"
#include "client/cli/reports/labels.h"
#include "client/cli/reports/sample_report.h"
#include "client/cli/reports/table.h"
#include "sampler/status_macros.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/shared_region.h"

namespace token_sampler::client {
namespace {

constexpr char kInput[] = "Input, one file";
constexpr char kGenerator[] = "Generator";

struct SampleFlags {
  ConnectionFlags connection;
  SamplingFlags sampling;
  Format format = Format::kTable;
  std::string logits;
  std::string weights;
  std::optional<DataType> dtype;
  std::string rows;
  std::optional<uint64_t> seed;
  std::optional<uint64_t> step;
  std::optional<uint32_t> stream;
  std::string vocab;
  std::string contexts;
  RowState state;
  std::string bitmask;
  Plane plane = Plane::kInline;
};

// A half-open range of the file's rows.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// Parses "A:B", "A:", ":B" or "A", a range of `rows` rows; "" is all of them.
absl::StatusOr<RowRange> ParseRows(const std::string& text, int64_t rows) {
  RowRange range = {0, rows};
  const std::vector<std::string> ends = absl::StrSplit(text, ':');
  const auto parse = [](const std::string& end, int64_t& value) {
    return end.empty() || absl::SimpleAtoi(end, &value);
  };
  bool good = ends.size() <= 2 && parse(ends.front(), range.begin) && parse(ends.back(), range.end);
  if (good && ends.size() == 1 && !text.empty()) range.end = range.begin + 1;
  good = good && range.begin >= 0 && range.begin < range.end && range.end <= rows;
  if (!good) {
    return absl::InvalidArgumentError(absl::StrCat("--rows must be A:B with 0 <= A < B <= ", rows,
                                                   ", the rows of the file, got ", text));
  }
  return range;
}

// Rows of the matrix, in place.
Matrix Slice(const Matrix& matrix, const RowRange& range) {
  const size_t row_bytes = matrix.byte_size / static_cast<size_t>(matrix.rows);
  Matrix slice = matrix;
  slice.rows = range.end - range.begin;
  slice.values =
      static_cast<const char*>(matrix.values) + row_bytes * static_cast<size_t>(range.begin);
  slice.byte_size = row_bytes * static_cast<size_t>(slice.rows);
  return slice;
}

// With a seed and no stream, row r of the file gets stream r: rows draw independently, and a row
// draws the same in any subset.
RowKeys MakeKeys(const SampleFlags& flags, const RowRange& range) {
  RowKeys keys;
  if (flags.seed) keys.seeds = {*flags.seed};
  if (flags.step) keys.steps = {*flags.step};
  if (flags.stream) {
    keys.streams = {*flags.stream};
  } else if (flags.seed) {
    keys.streams.resize(static_cast<size_t>(range.end - range.begin));
    std::iota(keys.streams.begin(), keys.streams.end(), static_cast<uint32_t>(range.begin));
  }
  return keys;
}

// Fills the request, and the report except its result.
absl::Status Prepare(const SampleFlags& flags, SampleRequest& request, SampleReport& report) {
  const bool weights = !flags.weights.empty();
  if (weights != flags.logits.empty()) {
    return absl::InvalidArgumentError("give either --logits FILE.npy or --weights FILE.npy");
  }
  ASSIGN_OR_RETURN(Matrix matrix, ReadNpy(weights ? flags.weights : flags.logits, flags.dtype));
  ASSIGN_OR_RETURN(RowRange range, ParseRows(flags.rows, matrix.rows));
  if (!flags.vocab.empty()) {
    ASSIGN_OR_RETURN(report.words, ReadVocabulary(flags.vocab, matrix.vocab));
  }
  if (!flags.contexts.empty()) {
    ASSIGN_OR_RETURN(report.contexts, ReadContexts(flags.contexts));
  }
  report.first_row = range.begin;
  request.matrix = Slice(matrix, range);
  request.kind = weights ? InputKind::kWeights : InputKind::kLogits;
  request.params = {flags.sampling.params};
  request.keys = MakeKeys(flags, range);
  const auto rows = static_cast<size_t>(request.matrix.rows);
  if (const std::optional<History> history = flags.sampling.history.Get()) {
    request.histories.assign(rows, *history);
  }
  request.skip_unknown_ids = flags.sampling.history.skip_unknown_ids;
  if (!StateText(flags.state).empty()) request.states.assign(rows, flags.state);
  if (!flags.bitmask.empty()) {
    ASSIGN_OR_RETURN(request.bitmask, ReadBitmask(flags.bitmask, matrix.vocab, matrix.rows,
                                                  range.begin, request.matrix.rows));
  }
  request.outputs = flags.sampling.outputs();
  return absl::OkStatus();
}

// Moves the matrix into a region.
absl::Status ShareMatrix(const SamplerClient& client, Matrix& matrix,
                         std::optional<SharedRegion>& region) {
  ASSIGN_OR_RETURN(region, SharedRegion::Create(client, matrix.byte_size));
  std::memcpy(region->data(), matrix.values, matrix.byte_size);
  matrix = region->Rows(0, matrix.dtype, matrix.rows, matrix.vocab);
  return absl::OkStatus();
}

int RunSample(const SampleFlags& flags) {
  if (flags.format == Format::kTable && flags.sampling.extra_outputs.gumbel_softmax != 0.0) {
    return Refuse("--gumbel-softmax needs --format json: it gives a number for every token");
  }
  SampleRequest request;
  SampleReport report;
  if (absl::Status status = Prepare(flags, request, report); !status.ok()) {
    return Refuse(status.message());
  }
  absl::StatusOr<SamplerClient> client = flags.connection.Connect();
  if (!client.ok()) return Refuse(client.status().message());
  std::optional<SharedRegion> region;
  if (flags.plane == Plane::kShm) {
    if (absl::Status status = ShareMatrix(*client, request.matrix, region); !status.ok()) {
      return Fail(status);
    }
  }
  absl::StatusOr<SampleResult> result = client->Sample(request);
  if (!result.ok()) return Fail(result.status());
  report.result = *std::move(result);
  return Print(
      flags.format == Format::kJson ? SampleJson(report) : SampleTable(report, TerminalWidth()),
      report.failed_rows() > 0 ? kExitRowFailed : kExitOk);
}

int RunDescribe(const SampleFlags& flags) {
  SampleRequest request;
  SampleReport report;
  if (absl::Status status = Prepare(flags, request, report); !status.ok()) {
    return Refuse(status.message());
  }
  if (request.matrix.rows != 1) {
    return Refuse(absl::StrCat("--rows must name one row, got ", request.matrix.rows));
  }
  absl::StatusOr<SamplerClient> client = flags.connection.Connect();
  if (!client.ok()) return Refuse(client.status().message());
  constexpr uint32_t kShown = 5;
  const uint32_t top_n = flags.sampling.top_logprobs.value_or(
      static_cast<uint32_t>(std::min<int64_t>(kShown, request.matrix.vocab)));
  absl::StatusOr<Description> description = client->Describe(request, top_n);
  if (!description.ok()) return Fail(description.status());
  const bool failed = description->code >= RowCode::kInvalidParams;
  return Print(flags.format == Format::kJson
                   ? DescriptionJson(*description, report.words)
                   : DescriptionTable(*description, report.words, TerminalWidth()),
               failed ? kExitRowFailed : kExitOk);
}

// Adds the flags of both commands: what they read and how they draw.
void AddRowFlags(CLI::App& app, SampleFlags& flags) {
  app.add_option("--logits", flags.logits, "[rows, vocab] or [vocab] logits")
      ->type_name("FILE.npy")
      ->group(kInput);
  app.add_option("--weights", flags.weights,
                 "[rows, vocab] or [vocab] weights, as torch.multinomial takes them")
      ->type_name("FILE.npy")
      ->group(kInput);
  AddDataTypeFlag(app, flags.dtype,
                  "Element type of the file; bf16 is stored as u2 [as the file says]")
      ->group(kInput);
  app.add_option("--rows", flags.rows, "Rows A to B - 1, or only row A [all]")
      ->type_name("A:B|A")
      ->group(kInput);
  AddParamsFlags(app, flags.sampling.params);
  AddHistoryFlags(app, flags.sampling.history);
  AddStateFlag(app, flags.state);
  AddBitmaskFlag(app, flags.bitmask);
  app.add_option("--seed", flags.seed,
                 "Seed of every row; row R gets stream R [the server chooses, per row]")
      ->type_name("N")
      ->group(kGenerator)
      ->check(WholeNumber())
      ->transform(WithoutQuotes());
  app.add_option("--step", flags.step, "Position of the token in its sequence [0]")
      ->type_name("N")
      ->group(kGenerator)
      ->check(WholeNumber())
      ->transform(WithoutQuotes());
  app.add_option("--stream", flags.stream, "Stream of every row")
      ->type_name("N")
      ->group(kGenerator)
      ->check(WholeNumber(0, UINT32_MAX));
  app.add_option("--vocab", flags.vocab, "Words of the tokens, one per line")
      ->type_name("FILE")
      ->group("Output");
  AddFormatFlag(app, flags.format);
  AddConnectionFlags(app, flags.connection, absl::Seconds(30));
}

}  // namespace

Command AddSampleCommand(CLI::App& program) {
  CLI::App* app = program.add_subcommand("sample", "Sample the rows of a .npy file");
  auto flags = std::make_shared<SampleFlags>();
  AddRowFlags(*app, *flags);
  AddOutputFlags(*app, flags->sampling);
  AddPlaneFlag(*app, flags->plane)->group(kInput);
  app->add_option("--contexts", flags->contexts,
                  "What comes before each row: columns `row` and `context`")
      ->type_name("FILE.tsv")
      ->group("Output");
  return {app, [flags] { return RunSample(*flags); }};
}

Command AddDescribeCommand(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "describe", "Show a row's distribution before and after each stage, and draw nothing");
  auto flags = std::make_shared<SampleFlags>();
  AddRowFlags(*app, *flags);
  AddLogprobsFlag(*app, flags->sampling.top_logprobs,
                  "Show the N likeliest tokens of each stage [5]");
  return {app, [flags] { return RunDescribe(*flags); }};
}

}  // namespace token_sampler::client
