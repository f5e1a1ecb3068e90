#include "server/kserve/translation/caller_names.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/kserve/sampler_model.h"
#include "server/kserve/translation/infer_request.h"

namespace token_sampler {
namespace {

// Fields outside SamplingParams and the tensor, and the caller's fields that set them.
constexpr struct {
  absl::string_view native;
  absl::string_view caller;
} kFields[] = {
    {"keys.seeds", "seed"},
    {"keys.steps", "step"},
    {"keys.streams", "stream"},
    {"histories.prompt_ids", "prompt_ids"},
    {"histories.output_ids", "output_ids"},
    {"bitmask.words", "bitmask"},
};

// Consumes `name` at the start of the path, if a whole name ends there.
bool ConsumeName(absl::string_view& path, absl::string_view name) {
  absl::string_view rest = path;
  if (!absl::ConsumePrefix(&rest, name)) return false;
  if (!rest.empty() && rest[0] != '.' && rest[0] != '[') return false;
  path = rest;
  return true;
}

// Consumes "name[3]" at the start of the path.
bool ConsumeEntry(absl::string_view& path, absl::string_view name) {
  absl::string_view rest = path;
  if (!ConsumeName(rest, name) || !absl::StartsWith(rest, "[")) return false;
  path = rest.substr(std::min(rest.find(']'), rest.size() - 1) + 1);
  return true;
}

}  // namespace

CallerNames::CallerNames(const inference::ModelInferRequest& request) {
  for (const auto& input : request.inputs()) inputs_.insert(input.name());
  for (const auto& output : request.outputs()) outputs_.insert(output.name());
}

std::string CallerNames::Translate(absl::string_view text) const {
  std::vector<std::string> words;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    words.push_back(TranslateWord(word));
  }
  return absl::StrJoin(words, " ");
}

absl::Status CallerNames::Translate(const absl::Status& status) const {
  return absl::Status(status.code(), Translate(status.message()));
}

// The field with "inputs." or "parameters." before it, for where the caller set it. It is an input
// if there is an input of its name or of one of its parts ("logit_bias").
std::string CallerNames::WithPlace(absl::string_view field) const {
  const absl::string_view name = field.substr(0, field.find('['));
  const auto part = inputs_.lower_bound(name);
  const bool input =
      part != inputs_.end() && (*part == name || absl::StartsWith(*part, absl::StrCat(name, ".")));
  // For the caller, the ids of a sequence have no name of their own.
  return absl::StrCat(input ? "inputs." : "parameters.", name,
                      absl::StrReplaceAll(field.substr(name.size()), {{".token_ids", ""}}));
}

std::string CallerNames::TranslateOutput(absl::string_view option) const {
  for (const absl::string_view name : ReservedParameters()) {
    if (name == option) return absl::StrCat("parameters.", option);
  }
  for (const ModelOutputField& output : OutputFields()) {
    if (output.option == option && outputs_.contains(output.name)) {
      return absl::StrCat("outputs.", output.name);
    }
  }
  return absl::StrCat("outputs.", option);
}

std::string CallerNames::TranslateWord(absl::string_view word) const {
  const size_t end = std::min(word.find_first_of(",:;"), word.size());
  absl::string_view path = word.substr(0, end);
  const absl::string_view after = word.substr(end);
  if (ConsumeEntry(path, "params")) {
    if (path.empty()) return absl::StrCat("the request", after);
    return absl::StrCat(WithPlace(path.substr(1)), after);
  }
  if (ConsumeEntry(path, "states")) return absl::StrCat("inputs.state", path, after);
  if (absl::ConsumePrefix(&path, "outputs.")) return absl::StrCat(TranslateOutput(path), after);
  if (absl::StartsWith(path, "tensor.")) {
    const bool offset = path == "tensor.region.offset";
    return absl::StrCat("inputs.", inputs_.contains("weights") ? "weights" : "logits",
                        offset ? ".parameters.shared_memory_offset" : "", after);
  }
  for (const auto& [native, caller] : kFields) {
    if (!ConsumeName(path, native)) continue;
    return absl::StrCat(WithPlace(absl::StrCat(caller, path)), after);
  }
  return std::string(word);
}

}  // namespace token_sampler
