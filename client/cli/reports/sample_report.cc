#include "client/cli/reports/sample_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/flags/row_flags.h"
#include "client/cli/reports/table.h"
#include "client/usage/counted.h"

namespace token_sampler::client {
namespace {

using Json = nlohmann::ordered_json;

// As a percentage with three significant digits.
std::string PercentOf(double probability) { return absl::StrFormat("%.3g%%", 100 * probability); }
std::string Percent(float logprob) { return PercentOf(std::exp(logprob)); }

// Two digits suffice for the alternatives: a line holds several.
std::string ShortPercent(float logprob) {
  const double percent = 100 * std::exp(logprob);
  return percent < 99.5 ? absl::StrFormat("%.2g%%", percent) : "100%";  // not 1e+02%
}

// The word of a token, or its id if words are not known.
std::string WordOf(const SampleReport& report, uint32_t token_id) {
  if (token_id >= report.words.size()) return absl::StrCat(token_id);
  return Printable(report.words[token_id]);
}

// "him 36%, the 26%".
std::string TokensText(const SampleReport& report, const std::vector<TokenLogprob>& tokens) {
  return absl::StrJoin(tokens, ", ", [&](std::string* out, const TokenLogprob& token) {
    absl::StrAppend(out, WordOf(report, token.token_id), " ", ShortPercent(token.logprob));
  });
}

// True when value(row) is the same for every row.
template <typename Value>
bool AllEqual(const std::vector<RowResult>& rows, Value value) {
  return std::all_of(rows.begin(), rows.end(),
                     [&](const RowResult& row) { return value(row) == value(rows.front()); });
}

bool SeedsDiffer(const SampleReport& report) {
  return !AllEqual(report.result.rows, [](const RowResult& row) { return row.seed; });
}

// The optional columns that a table has.
struct Columns {
  bool context = false;
  bool draw = false;
  bool word = false;
  bool probability = false;
  bool rank = false;
  bool kept = false;
  bool kept_tokens = false;
  bool entropy = false;
  bool extremes = false;
  bool likeliest = false;
  bool state = false;
  bool skipped = false;
  bool seed = false;
};

Columns ColumnsOf(const SampleReport& report) {
  Columns columns;
  columns.context = !report.contexts.empty();
  columns.word = !report.words.empty();
  columns.seed = SeedsDiffer(report);
  for (const RowResult& row : report.result.rows) {
    columns.draw |= row.token_ids.size() > 1;
    columns.probability |= !row.logprobs.empty();
    columns.rank |= !row.ranks.empty();
    columns.kept |= row.kept_count.has_value();
    columns.kept_tokens |= !row.kept_set.empty();
    columns.entropy |= row.entropy.has_value();
    columns.extremes |= row.max_probability.has_value();
    columns.likeliest |= !row.top_logprobs.empty();
    columns.state |= !StateText(row.state).empty();
    columns.skipped |= row.skipped_ids.has_value();
  }
  return columns;
}

Table TitledTable(const Columns& columns) {
  using Align = Table::Align;
  Table table;
  table.AddColumn("row", Align::kRight);
  if (columns.context) table.AddColumn("context", Align::kRight, Table::Shrink::kCutStart);
  if (columns.draw) table.AddColumn("draw", Align::kRight);
  table.AddColumn("token", Align::kRight);
  if (columns.word) table.AddColumn("word", Align::kLeft, Table::Shrink::kCutEnd);
  if (columns.probability) table.AddColumn("prob", Align::kRight);
  if (columns.rank) table.AddColumn("rank", Align::kRight);
  if (columns.kept) table.AddColumn("kept", Align::kRight);
  if (columns.entropy) table.AddColumn("entropy", Align::kRight);
  if (columns.extremes) {
    table.AddColumn("largest", Align::kRight);
    table.AddColumn("smallest", Align::kRight);
  }
  if (columns.kept_tokens) table.AddColumn("kept tokens", Align::kLeft, Table::Shrink::kCutEnd);
  if (columns.likeliest) table.AddColumn("likeliest", Align::kLeft, Table::Shrink::kCutEnd);
  if (columns.state) table.AddColumn("state", Align::kLeft);
  if (columns.skipped) table.AddColumn("skipped ids", Align::kRight);
  if (columns.seed) table.AddColumn("seed", Align::kRight);
  return table;
}

// The line of one draw. Only the first draw of a row has the cells that are the same for the whole
// row.
std::vector<std::string> DrawCells(const SampleReport& report, const Columns& columns,
                                   size_t row_index, size_t draw) {
  const RowResult& row = report.result.rows[row_index];
  const int64_t row_number = report.first_row + static_cast<int64_t>(row_index);
  const bool first = draw == 0;
  const bool drawn = draw < row.token_ids.size();
  std::vector<std::string> cells = {first ? absl::StrCat(row_number) : ""};
  if (columns.context) {
    const auto context = report.contexts.find(row_number);
    cells.push_back(first && context != report.contexts.end() ? Printable(context->second) : "");
  }
  if (columns.draw) cells.push_back(drawn ? absl::StrCat(draw) : "");
  cells.push_back(drawn ? absl::StrCat(row.token_ids[draw]) : "-");
  if (columns.word)
    cells.push_back(drawn ? WordOf(report, row.token_ids[draw]) : RowCodeName(row.code));
  if (columns.probability) {
    cells.push_back(draw < row.logprobs.size() ? Percent(row.logprobs[draw]) : "");
  }
  if (columns.rank) cells.push_back(draw < row.ranks.size() ? absl::StrCat(row.ranks[draw]) : "");
  if (columns.kept) {
    cells.push_back(first && row.kept_count ? absl::StrCat(*row.kept_count) : "");
  }
  if (columns.entropy) {
    cells.push_back(first && row.entropy ? absl::StrFormat("%.3f", *row.entropy) : "");
  }
  if (columns.extremes) {
    cells.push_back(first && row.max_probability ? PercentOf(*row.max_probability) : "");
    cells.push_back(first && row.min_probability ? PercentOf(*row.min_probability) : "");
  }
  if (columns.kept_tokens) cells.push_back(first ? TokensText(report, row.kept_set) : "");
  if (columns.likeliest) cells.push_back(first ? TokensText(report, row.top_logprobs) : "");
  if (columns.state) cells.push_back(first ? StateText(row.state) : "");
  if (columns.skipped) {
    cells.push_back(first && row.skipped_ids ? absl::StrCat(*row.skipped_ids) : "");
  }
  if (columns.seed) cells.push_back(first ? absl::StrCat(row.seed) : "");
  return cells;
}

// "63 rows, seed 7, step 0, stream = row, specification 1".
std::string Summary(const SampleReport& report) {
  const std::vector<RowResult>& rows = report.result.rows;
  std::string text = Counted(rows.size(), "row");
  if (report.failed_rows() > 0) absl::StrAppend(&text, ", ", report.failed_rows(), " failed");
  if (rows.empty()) return text;
  const bool seeds_differ = SeedsDiffer(report);
  absl::StrAppend(&text, ", ",
                  seeds_differ ? "a seed per row" : absl::StrCat("seed ", rows.front().seed));
  absl::StrAppend(&text, ", step ", rows.front().step, ", stream ");
  const bool one_stream = AllEqual(rows, [](const RowResult& row) { return row.stream; });
  absl::StrAppend(&text, one_stream ? absl::StrCat(rows.front().stream) : "= row");
  absl::StrAppend(&text, ", specification ", report.result.spec_version, "\n");
  if (seeds_differ) {
    absl::StrAppend(&text, "To repeat a row: --rows ROW --seed SEED --stream ", rows.front().stream,
                    " --step ", rows.front().step, "\n");
  }
  return text;
}

Json StateJson(const RowState& state) {
  Json json = Json::object();
  if (state.mirostat_mu) json["mirostat_mu"] = *state.mirostat_mu;
  if (state.adaptive_p_sum) json["adaptive_p_sum"] = *state.adaptive_p_sum;
  if (state.adaptive_p_weight) json["adaptive_p_weight"] = *state.adaptive_p_weight;
  if (state.top_p) json["top_p"] = *state.top_p;
  return json;
}

Json RowJson(const SampleReport& report, size_t row_index) {
  const RowResult& row = report.result.rows[row_index];
  const int64_t row_number = report.first_row + static_cast<int64_t>(row_index);
  Json json = {{"row", row_number},
               {"status", RowCodeName(row.code)},
               {"token_ids", row.token_ids},
               {"logprobs", row.logprobs},
               {"seed", absl::StrCat(row.seed)},
               {"step", absl::StrCat(row.step)},
               {"stream", row.stream}};
  if (!row.message.empty()) json["message"] = row.message;
  if (!row.ranks.empty()) json["ranks"] = row.ranks;
  if (row.kept_count) json["kept_count"] = *row.kept_count;
  if (row.entropy) json["entropy"] = *row.entropy;
  if (row.max_probability) json["max_probability"] = *row.max_probability;
  if (row.min_probability) json["min_probability"] = *row.min_probability;
  if (Json state = StateJson(row.state); !state.empty()) json["state"] = std::move(state);
  if (row.skipped_ids) json["skipped_ids"] = *row.skipped_ids;
  if (!row.gumbel_softmax.empty()) json["gumbel_softmax"] = row.gumbel_softmax;
  for (const TokenLogprob& kept : row.kept_set) {
    json["kept_set"].push_back({{"token_id", kept.token_id}, {"logprob", kept.logprob}});
  }
  for (const TokenLogprob& top : row.top_logprobs) {
    json["top_logprobs"].push_back({{"token_id", top.token_id}, {"logprob", top.logprob}});
  }
  if (!report.words.empty()) {
    json["words"] = Json::array();
    for (uint32_t token_id : row.token_ids) {
      json["words"].push_back(token_id < report.words.size() ? report.words[token_id] : "");
    }
  }
  const auto context = report.contexts.find(row_number);
  if (context != report.contexts.end()) json["context"] = context->second;
  return json;
}

}  // namespace

int64_t SampleReport::failed_rows() const {
  return std::count_if(result.rows.begin(), result.rows.end(),
                       [](const RowResult& row) { return row.failed(); });
}

std::string SampleTable(const SampleReport& report, size_t width) {
  const Columns columns = ColumnsOf(report);
  Table table = TitledTable(columns);
  for (size_t r = 0; r < report.result.rows.size(); ++r) {
    const size_t lines = std::max<size_t>(1, report.result.rows[r].token_ids.size());
    for (size_t draw = 0; draw < lines; ++draw) {
      table.AddRow(DrawCells(report, columns, r, draw));
    }
  }
  std::string text = absl::StrCat(table.Render(width), "\n", Summary(report));
  for (size_t r = 0; r < report.result.rows.size(); ++r) {
    const RowResult& row = report.result.rows[r];
    if (row.code == RowCode::kOk) continue;
    absl::StrAppend(&text, "row ", report.first_row + static_cast<int64_t>(r), ": ",
                    RowCodeName(row.code), ": ", Printable(row.message), "\n");
  }
  return text;
}

std::string SampleJson(const SampleReport& report) {
  Json json = {{"spec_version", report.result.spec_version}, {"rows", Json::array()}};
  for (size_t r = 0; r < report.result.rows.size(); ++r) {
    json["rows"].push_back(RowJson(report, r));
  }
  // A vocabulary may hold words that are not UTF-8.
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace token_sampler::client
