#include "tests/golden/golden_file.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

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

std::string FormatParams(const SamplingParams& params) {
  const SamplingParams defaults;
  std::ostringstream text;
  text.precision(17);
  if (params.temperature != defaults.temperature)
    text << "temperature=" << params.temperature << ' ';
  if (params.min_p != defaults.min_p) text << "min_p=" << params.min_p << ' ';
  if (params.top_k != defaults.top_k) text << "top_k=" << params.top_k << ' ';
  if (params.top_p != defaults.top_p) text << "top_p=" << params.top_p << ' ';
  if (params.num_samples != defaults.num_samples)
    text << "num_samples=" << params.num_samples << ' ';
  if (params.replacement != defaults.replacement)
    text << "replacement=" << params.replacement << ' ';
  if (params.top_k_ties != defaults.top_k_ties) text << "keep_all_ties=1 ";
  if (params.epsilon_cutoff != defaults.epsilon_cutoff) {
    text << "epsilon_cutoff=" << params.epsilon_cutoff << ' ';
  }
  if (params.p_less) text << "p_less=1 ";
  if (params.typical_p != defaults.typical_p) text << "typical_p=" << params.typical_p << ' ';
  if (params.eta_cutoff != defaults.eta_cutoff) text << "eta_cutoff=" << params.eta_cutoff << ' ';
  if (params.top_n_sigma != defaults.top_n_sigma) {
    text << "top_n_sigma=" << params.top_n_sigma << ' ';
  }
  if (params.mirostat) {
    text << "mirostat=" << params.mirostat->version << ' ' << "tau=" << params.mirostat->tau << ' ';
  }
  if (params.adaptive_p) text << "adaptive_p=" << params.adaptive_p->target << ' ';
  if (params.dynamic_temperature) {
    text << "dynamic_temperature=" << params.dynamic_temperature->range << ' ';
  }
  if (params.greedy_threshold) text << "greedy_threshold=" << *params.greedy_threshold << ' ';
  if (params.xtc_probability != defaults.xtc_probability) {
    text << "xtc_probability=" << params.xtc_probability << ' ';
  }
  if (params.xtc_threshold != defaults.xtc_threshold) {
    text << "xtc_threshold=" << params.xtc_threshold << ' ';
  }
  if (params.min_tokens_to_keep != defaults.min_tokens_to_keep) {
    text << "min_tokens_to_keep=" << params.min_tokens_to_keep << ' ';
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
  if (field == "temperature") {
    params.temperature = std::stod(value);
  } else if (field == "min_p") {
    params.min_p = std::stod(value);
  } else if (field == "top_k") {
    params.top_k = static_cast<uint32_t>(std::stoul(value));
  } else if (field == "top_p") {
    params.top_p = std::stod(value);
  } else if (field == "num_samples") {
    params.num_samples = static_cast<uint32_t>(std::stoul(value));
  } else if (field == "replacement") {
    params.replacement = value == "1";
  } else if (field == "keep_all_ties") {
    params.top_k_ties = TiePolicy::kKeepAll;
  } else if (field == "epsilon_cutoff") {
    params.epsilon_cutoff = std::stod(value);
  } else if (field == "typical_p") {
    params.typical_p = std::stod(value);
  } else if (field == "eta_cutoff") {
    params.eta_cutoff = std::stod(value);
  } else if (field == "top_n_sigma") {
    params.top_n_sigma = std::stod(value);
  } else if (field == "mirostat") {
    params.mirostat = Mirostat{.version = static_cast<uint32_t>(std::stoul(value))};
  } else if (field == "tau") {
    params.mirostat->tau = std::stod(value);
  } else if (field == "adaptive_p") {
    params.adaptive_p = AdaptiveP{.target = std::stod(value)};
  } else if (field == "dynamic_temperature") {
    params.dynamic_temperature = DynamicTemperature{.range = std::stod(value)};
  } else if (field == "greedy_threshold") {
    params.greedy_threshold = std::stod(value);
  } else if (field == "p_less") {
    params.p_less = true;
  } else if (field == "xtc_probability") {
    params.xtc_probability = std::stod(value);
  } else if (field == "xtc_threshold") {
    params.xtc_threshold = std::stod(value);
  } else if (field == "min_tokens_to_keep") {
    params.min_tokens_to_keep = static_cast<uint32_t>(std::stoul(value));
  } else if (field == "stage_order") {
    params.stage_order = ParseOrder(value);
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
