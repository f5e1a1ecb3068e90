// `verify`: shows which drafted tokens a target model's rows accept.

#include <cstdint>
#include <memory>
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
#include "client/cli/reports/draft_report.h"
#include "client/cli/reports/labels.h"
#include "client/cli/reports/table.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {
namespace {

constexpr char kInput[] = "Input";
constexpr char kGenerator[] = "Generator";

struct VerifyFlags {
  ConnectionFlags connection;
  SamplingParams params;
  HistoryFlags history;
  Format format = Format::kTable;
  std::string logits;
  std::string weights;
  std::string draft;
  std::optional<InputKind> draft_kind;
  std::string draft_ids;
  std::string parents;
  std::optional<DataType> dtype;
  std::string bitmask;
  std::string vocab;
  std::optional<uint64_t> seed;
  std::optional<uint64_t> step;
};

absl::Status Malformed(absl::string_view flag, absl::string_view form, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " must be ", form, ", got ", text));
}

// Parses the sequences: "1,2;;3" has three, the second without a drafted token.
absl::StatusOr<std::vector<DraftSequence>> ParseSequences(const VerifyFlags& flags) {
  std::vector<DraftSequence> sequences;
  for (const absl::string_view part : absl::StrSplit(flags.draft_ids, ';')) {
    DraftSequence& sequence = sequences.emplace_back();
    if (!part.empty() && !ParseIds(part, sequence.token_ids)) {
      return Malformed("--draft-ids", "ID,...;ID,...", flags.draft_ids);
    }
  }
  if (flags.parents.empty()) return sequences;
  const std::vector<absl::string_view> parts = absl::StrSplit(flags.parents, ';');
  if (parts.size() != sequences.size()) {
    return Malformed("--parents", absl::StrCat("of ", Counted(sequences.size(), "sequence")),
                     flags.parents);
  }
  for (size_t s = 0; s < parts.size(); ++s) {
    if (parts[s].empty()) continue;
    for (const absl::string_view parent : absl::StrSplit(parts[s], ',')) {
      if (!absl::SimpleAtoi(parent, &sequences[s].parents.emplace_back())) {
        return Malformed("--parents", "N,...;N,...", flags.parents);
      }
    }
  }
  return sequences;
}

// Fills the request, and the report except its result.
absl::Status Prepare(const VerifyFlags& flags, VerifyDraftRequest& request, DraftReport& report) {
  const bool weights = !flags.weights.empty();
  if (weights != flags.logits.empty()) {
    return absl::InvalidArgumentError("give either --logits FILE.npy or --weights FILE.npy");
  }
  ASSIGN_OR_RETURN(Matrix target, ReadNpy(weights ? flags.weights : flags.logits, flags.dtype));
  request.target = std::move(target);
  request.kind = weights ? InputKind::kWeights : InputKind::kLogits;
  if (!flags.draft.empty()) {
    ASSIGN_OR_RETURN(request.draft, ReadNpy(flags.draft, flags.dtype));
  }
  request.draft_kind = flags.draft_kind;
  ASSIGN_OR_RETURN(std::vector<DraftSequence> sequences, ParseSequences(flags));
  request.sequences = std::move(sequences);
  request.params = {flags.params};
  if (const std::optional<History> history = flags.history.Get()) {
    request.histories.assign(request.sequences.size(), *history);
  }
  request.skip_unknown_ids = flags.history.skip_unknown_ids;
  if (flags.seed) request.keys.seeds = {*flags.seed};
  if (flags.step) request.keys.steps = {*flags.step};
  const int64_t vocab = request.target.vocab;
  const int64_t rows = request.target.rows;
  if (!flags.bitmask.empty()) {
    ASSIGN_OR_RETURN(request.bitmask, ReadBitmask(flags.bitmask, vocab, rows, 0, rows));
  }
  if (!flags.vocab.empty()) {
    ASSIGN_OR_RETURN(report.words, ReadVocabulary(flags.vocab, vocab));
  }
  report.sequences = request.sequences;
  return absl::OkStatus();
}

int RunVerify(const VerifyFlags& flags) {
  VerifyDraftRequest request;
  DraftReport report;
  if (absl::Status status = Prepare(flags, request, report); !status.ok()) {
    return Refuse(status.message());
  }
  absl::StatusOr<SamplerClient> client = flags.connection.Connect();
  if (!client.ok()) return Refuse(client.status().message());
  absl::StatusOr<VerifyDraftResult> result = client->VerifyDraft(request);
  if (!result.ok()) return Fail(result.status());
  report.result = *std::move(result);
  return Print(
      flags.format == Format::kJson ? DraftJson(report) : DraftTable(report, TerminalWidth()),
      report.failed_sequences() > 0 ? kExitRowFailed : kExitOk);
}

void AddFile(CLI::App& app, const std::string& name, std::string& path,
             const std::string& description) {
  app.add_option(name, path, description)->type_name("FILE.npy")->group(kInput);
}

}  // namespace

Command AddVerifyCommand(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "verify", "Verify drafted tokens: show the accepted ones and the token after them");
  auto flags = std::make_shared<VerifyFlags>();
  AddFile(*app, "--logits", flags->logits,
          "The target's rows: for each sequence one per drafted token and one after them");
  AddFile(*app, "--weights", flags->weights, "The same as weights");
  app->add_option("--draft-ids", flags->draft_ids, "The drafted tokens of each sequence")
      ->type_name("ID,...;ID,...")
      ->group(kInput)
      ->required();
  app->add_option("--parents", flags->parents,
                  "For trees: each token's parent within its sequence, -1 for the root [chains]")
      ->type_name("N,...;N,...")
      ->group(kInput);
  AddFile(*app, "--draft", flags->draft,
          "The draft model's rows, one per drafted token [drafts are certain]");
  AddChoice<InputKind>(*app, "--draft-kind", flags->draft_kind,
                       {{"logits", InputKind::kLogits}, {"weights", InputKind::kWeights}},
                       "What --draft holds; weights are final probabilities [as the target]")
      ->group(kInput);
  AddDataTypeFlag(*app, flags->dtype,
                  "Element type of the files; bf16 is stored as u2 [as they say]")
      ->group(kInput);
  AddParamsFlags(*app, flags->params);
  AddHistoryFlags(*app, flags->history);
  AddBitmaskFlag(*app, flags->bitmask);
  app->add_option("--seed", flags->seed,
                  "Seed of every sequence; sequence S gets stream S [the server chooses]")
      ->type_name("N")
      ->group(kGenerator)
      ->check(WholeNumber())
      ->transform(WithoutQuotes());
  app->add_option("--step", flags->step, "Position of the first drafted token [0]")
      ->type_name("N")
      ->group(kGenerator)
      ->check(WholeNumber())
      ->transform(WithoutQuotes());
  app->add_option("--vocab", flags->vocab, "Words of the tokens, one per line")
      ->type_name("FILE")
      ->group("Output");
  AddFormatFlag(*app, flags->format);
  AddConnectionFlags(*app, flags->connection, absl::Seconds(30));
  return {app, [flags] { return RunVerify(*flags); }};
}

}  // namespace token_sampler::client
