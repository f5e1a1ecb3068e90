#include "tests/golden/golden_file.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include "sampler/params/sampling_params.h"

namespace token_sampler::testing {
namespace {

[[noreturn]] void Abort(const std::string& what) {
  std::fprintf(stderr, "golden file: %s\n", what.c_str());
  std::abort();
}

constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16,
                               DataType::kFloat64};

DataType ParseType(const std::string& name) {
  for (const DataType type : kTypes) {
    if (name == DataTypeName(type)) return type;
  }
  Abort("no element type " + name);
}

// Names in the file that differ from those in the table.
constexpr struct {
  const char* in_file;
  const char* in_table;
} kAliases[] = {
    {"mirostat", "mirostat.version"},       {"tau", "mirostat.tau"},
    {"adaptive_p", "adaptive_p.target"},    {"dynamic_temperature", "dynamic_temperature.range"},
    {"xtc_probability", "xtc.probability"}, {"xtc_threshold", "xtc.threshold"},
};

std::string NameInFile(absl::string_view in_table) {
  for (const auto& alias : kAliases) {
    if (alias.in_table == in_table) return alias.in_file;
  }
  return std::string(in_table);
}

std::string NameInTable(absl::string_view in_file) {
  for (const auto& alias : kAliases) {
    if (alias.in_file == in_file) return alias.in_table;
  }
  return std::string(in_file);
}

// Returns the default of a parameter, also within a struct that is set.
double DefaultOf(const ScalarParam& scalar) {
  SamplingParams params;
  params.mirostat.emplace();
  params.adaptive_p.emplace();
  params.dynamic_temperature.emplace();
  params.temperature_schedule.emplace();
  params.top_p_decay.emplace();
  return scalar.get(params);
}

constexpr char kTies[] = "keep_all_ties";

// The first lines of the file have this order. Later parameters follow in the order of the table.
std::vector<std::string> NamesInOrder() {
  std::vector<std::string> names = {"temperature",
                                    "min_p",
                                    "top_k",
                                    "top_p",
                                    "num_samples",
                                    "replacement",
                                    kTies,
                                    "epsilon_cutoff",
                                    "p_less",
                                    "typical_p",
                                    "eta_cutoff",
                                    "top_n_sigma",
                                    "mirostat",
                                    "tau",
                                    "adaptive_p",
                                    "dynamic_temperature",
                                    "greedy_threshold",
                                    "xtc_probability",
                                    "xtc_threshold",
                                    "min_tokens_to_keep"};
  for (const ScalarParam& scalar : kScalarParams) {
    const std::string name = NameInFile(scalar.name);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string FormatParams(const SamplingParams& params) {
  static const std::vector<std::string>& names = *new std::vector<std::string>(NamesInOrder());
  const SamplingParams defaults;
  std::ostringstream text;
  text.precision(17);
  for (const std::string& name : names) {
    if (name == kTies) {
      if (params.top_k_ties != defaults.top_k_ties) text << kTies << "=1 ";
      continue;
    }
    const ScalarParam& scalar = *FindScalarParam(NameInTable(name));
    if (!scalar.is_there(params)) continue;
    // Parameters of a struct that is set are written even if they have their default.
    const bool in_struct = name == "mirostat" || name == "tau" || name == "adaptive_p" ||
                           name == "dynamic_temperature";
    if (in_struct || scalar.get(params) != DefaultOf(scalar)) {
      text << name << '=' << scalar.get(params) << ' ';
    }
  }
  if (!(params.stage_order == defaults.stage_order)) {
    text << "stage_order=";
    for (const Stage& stage : params.stage_order) {
      text << (&stage == params.stage_order.begin() ? "" : ",") << static_cast<int>(stage);
    }
    text << ' ';
  }
  return text.str();
}

StageOrder ParseOrder(const std::string& value) {
  StageOrder order;
  std::istringstream text(value);
  for (std::string number; std::getline(text, number, ',');) {
    order.Add(static_cast<Stage>(std::stoi(number)));
  }
  return order;
}

void SetParam(const std::string& field, const std::string& value, SamplingParams& params) {
  if (field == kTies) {
    params.top_k_ties = TiePolicy::kKeepAll;
  } else if (field == "stage_order") {
    params.stage_order = ParseOrder(value);
  } else if (const ScalarParam* const scalar = FindScalarParam(NameInTable(field))) {
    // std::stod refuses numbers below the normal range.
    scalar->set(params, std::strtod(value.c_str(), nullptr));
  } else {
    Abort("no parameter " + field);
  }
}

bool SameRow(const GoldenRowName& a, const GoldenRowName& b) {
  return a.shape == b.shape && a.vocab == b.vocab && a.variant == b.variant && a.dtype == b.dtype;
}

}  // namespace

std::string FormatGoldenCase(const GoldenCase& golden) {
  std::ostringstream text;
  text << golden.row.shape << ' ' << golden.row.vocab << ' ' << golden.row.variant << ' '
       << DataTypeName(golden.row.dtype) << " | " << FormatParams(golden.params) << "| "
       << golden.key.seed << ' ' << golden.key.step << ' ' << golden.key.stream << " |";
  for (const uint32_t id : golden.token_ids) text << ' ' << id;
  return text.str();
}

GoldenCase ParseGoldenCase(const std::string& line) {
  GoldenCase golden;
  std::istringstream text(line);
  std::string type;
  std::string word;
  text >> golden.row.shape >> golden.row.vocab >> golden.row.variant >> type >> word;
  if (!text || word != "|") Abort("malformed row: " + line);
  golden.row.dtype = ParseType(type);
  while (text >> word && word != "|") {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) Abort("malformed parameter " + word);
    SetParam(word.substr(0, equals), word.substr(equals + 1), golden.params);
  }
  text >> golden.key.seed >> golden.key.step >> golden.key.stream >> word;
  if (!text || word != "|") Abort("malformed key: " + line);
  for (uint32_t id = 0; text >> id;) golden.token_ids.push_back(id);
  return golden;
}

std::vector<GoldenCase> ReadGoldenFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) Abort("cannot read " + path);
  std::vector<GoldenCase> cases;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') cases.push_back(ParseGoldenCase(line));
  }
  return cases;
}

std::vector<std::vector<uint32_t>> SampleGoldenCases(const std::vector<GoldenCase>& cases,
                                                     Sampler& sampler) {
  std::vector<std::vector<uint32_t>> tokens;
  for (size_t first = 0; first < cases.size();) {
    const GoldenRow row = MakeGoldenRow(cases[first].row);
    std::vector<RowInput> inputs;
    for (size_t i = first; i < cases.size() && SameRow(cases[i].row, cases[first].row); ++i) {
      RowInput& input = inputs.emplace_back();
      input.values = row.bytes.data();
      input.dtype = row.dtype;
      input.kind = row.kind;
      input.vocab = row.vocab;
      input.params = &cases[i].params;
      input.key = cases[i].key;
      const absl::Status status = ValidateParams(cases[i].params, row.kind, row.vocab, {});
      if (!status.ok()) Abort(std::string(status.message()));
    }
    std::vector<RowResult> results(inputs.size());
    const absl::Status status = sampler.Sample(inputs, absl::MakeSpan(results));
    if (!status.ok()) Abort(std::string(status.message()));
    for (RowResult& result : results) tokens.push_back(std::move(result.token_ids));
    first += inputs.size();
  }
  return tokens;
}

}  // namespace token_sampler::testing
