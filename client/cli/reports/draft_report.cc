#include "client/cli/reports/draft_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/reports/table.h"

namespace token_sampler::client {
namespace {

using Json = nlohmann::ordered_json;

std::string Ids(const std::vector<uint32_t>& ids) { return absl::StrJoin(ids, " "); }

std::string Words(const DraftReport& report, const std::vector<uint32_t>& ids) {
  return absl::StrJoin(ids, " ", [&](std::string* out, uint32_t id) {
    absl::StrAppend(out, id < report.words.size() ? Printable(report.words[id]) : "?");
  });
}

}  // namespace

size_t DraftReport::failed_sequences() const {
  return static_cast<size_t>(
      std::count_if(result.sequences.begin(), result.sequences.end(),
                    [](const DraftResult& sequence) { return sequence.failed(); }));
}

std::string DraftTable(const DraftReport& report, size_t width) {
  Table table;
  table.AddColumn("sequence", Table::Align::kRight);
  table.AddColumn("drafted", Table::Align::kLeft, Table::Shrink::kCutEnd);
  table.AddColumn("accepted", Table::Align::kRight);
  table.AddColumn("tokens", Table::Align::kLeft, Table::Shrink::kCutEnd);
  const bool words = !report.words.empty();
  if (words) table.AddColumn("words", Table::Align::kLeft, Table::Shrink::kCutEnd);
  table.AddColumn("seed", Table::Align::kRight);
  table.AddColumn("stream", Table::Align::kRight);
  const bool skipped =
      std::any_of(report.result.sequences.begin(), report.result.sequences.end(),
                  [](const DraftResult& sequence) { return sequence.skipped_ids.has_value(); });
  if (skipped) table.AddColumn("skipped ids", Table::Align::kRight);
  std::string notes;
  for (size_t s = 0; s < report.result.sequences.size(); ++s) {
    const DraftResult& sequence = report.result.sequences[s];
    std::vector<std::string> cells = {absl::StrCat(s), Ids(report.sequences[s].token_ids),
                                      sequence.failed() ? "-" : absl::StrCat(sequence.accepted),
                                      Ids(sequence.token_ids)};
    if (words) cells.push_back(Words(report, sequence.token_ids));
    cells.push_back(absl::StrCat(sequence.seed));
    cells.push_back(absl::StrCat(sequence.stream));
    if (skipped) cells.push_back(absl::StrCat(sequence.skipped_ids.value_or(0)));
    table.AddRow(std::move(cells));
    if (sequence.code == RowCode::kOk) continue;
    absl::StrAppend(&notes, "sequence ", s, ": ", RowCodeName(sequence.code), ": ",
                    Printable(sequence.message), "\n");
  }
  return absl::StrCat(table.Render(width), notes);
}

std::string DraftJson(const DraftReport& report) {
  Json json = {{"spec_version", report.result.spec_version}, {"sequences", Json::array()}};
  for (size_t s = 0; s < report.result.sequences.size(); ++s) {
    const DraftResult& result = report.result.sequences[s];
    Json sequence = {{"sequence", s},
                     {"status", RowCodeName(result.code)},
                     {"drafted", report.sequences[s].token_ids},
                     {"accepted", result.accepted},
                     {"token_ids", result.token_ids},
                     {"seed", absl::StrCat(result.seed)},
                     {"stream", result.stream}};
    if (result.skipped_ids) sequence["skipped_ids"] = *result.skipped_ids;
    if (!result.message.empty()) sequence["message"] = result.message;
    if (!report.sequences[s].parents.empty()) sequence["accepted_nodes"] = result.accepted_nodes;
    for (const uint32_t id : report.words.empty() ? std::vector<uint32_t>() : result.token_ids) {
      sequence["words"].push_back(id < report.words.size() ? report.words[id] : "");
    }
    json["sequences"].push_back(std::move(sequence));
  }
  // A vocabulary may hold words that are not UTF-8.
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace token_sampler::client
