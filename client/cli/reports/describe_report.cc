#include "client/cli/reports/describe_report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/reports/table.h"

namespace token_sampler::client {
namespace {

using Json = nlohmann::ordered_json;

std::string WordOf(uint32_t token_id, const std::vector<std::string>& words) {
  return token_id < words.size() ? Printable(words[token_id]) : absl::StrCat(token_id);
}

std::string Percent(double probability) { return absl::StrFormat("%.3g%%", 100 * probability); }

}  // namespace

std::string DescriptionTable(const Description& description, const std::vector<std::string>& words,
                             size_t width) {
  Table table;
  table.AddColumn("stage", Table::Align::kLeft);
  table.AddColumn("kept", Table::Align::kRight);
  table.AddColumn("removed", Table::Align::kRight);
  table.AddColumn("entropy", Table::Align::kRight);
  table.AddColumn("smallest", Table::Align::kRight);
  table.AddColumn("likeliest", Table::Align::kLeft, Table::Shrink::kCutEnd);
  for (const StageView& view : description.stages) {
    const std::string likeliest =
        absl::StrJoin(view.top_logprobs, ", ", [&](std::string* out, const TokenLogprob& top) {
          absl::StrAppend(out, WordOf(top.token_id, words), " ", Percent(std::exp(top.logprob)));
        });
    table.AddRow({view.stage, absl::StrCat(view.kept_count), Percent(view.removed_mass),
                  absl::StrFormat("%.3f", view.entropy), Percent(view.min_probability), likeliest});
  }
  std::string text = description.stages.empty() ? "" : table.Render(width);
  if (description.skipped_ids) {
    absl::StrAppend(&text, "skipped ids of the history: ", *description.skipped_ids, "\n");
  }
  if (description.code != RowCode::kOk) {
    absl::StrAppend(&text, RowCodeName(description.code), ": ", Printable(description.message),
                    "\n");
  }
  return text;
}

std::string DescriptionJson(const Description& description, const std::vector<std::string>& words) {
  Json json = {{"status", RowCodeName(description.code)}, {"stages", Json::array()}};
  if (!description.message.empty()) json["message"] = description.message;
  if (description.skipped_ids) json["skipped_ids"] = *description.skipped_ids;
  for (const StageView& view : description.stages) {
    Json stage = {{"stage", view.stage},
                  {"kept_count", view.kept_count},
                  {"removed_mass", view.removed_mass},
                  {"entropy", view.entropy},
                  {"max_probability", view.max_probability},
                  {"min_probability", view.min_probability},
                  {"top_logprobs", Json::array()}};
    for (const TokenLogprob& top : view.top_logprobs) {
      Json token = {{"token_id", top.token_id}, {"logprob", top.logprob}};
      if (top.token_id < words.size()) token["word"] = words[top.token_id];
      stage["top_logprobs"].push_back(std::move(token));
    }
    json["stages"].push_back(std::move(stage));
  }
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace token_sampler::client
