#include "client/load/report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/usage/counted.h"

namespace token_sampler::client {
namespace {

struct NamedPercentile {
  const char* label;
  const char* key;
  double percent;
};
constexpr NamedPercentile kPercentiles[] = {{"p50", "p50", 50},       {"p90", "p90", 90},
                                            {"p95", "p95", 95},       {"p99", "p99", 99},
                                            {"p99.9", "p99_9", 99.9}, {"max", "max", 100}};

double PerSecond(uint64_t count, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

double Milliseconds(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

}  // namespace

std::string LoadProgress(const Measurements& measurements, absl::Duration elapsed) {
  return absl::StrFormat("%4.0f s  %9.0f calls/s  %10.0f rows/s  p50 %.3f ms  failed %d\n",
                         absl::ToDoubleSeconds(elapsed), PerSecond(measurements.calls(), elapsed),
                         PerSecond(measurements.rows, elapsed),
                         Milliseconds(measurements.latency_ns.Percentile(50)),
                         measurements.failed_calls);
}

std::string LoadTable(const Measurements& measurements, absl::Duration elapsed) {
  std::string text = absl::StrFormat("%.2f s\n", absl::ToDoubleSeconds(elapsed));
  const auto add_rate = [&](const char* name, uint64_t count) {
    absl::StrAppendFormat(&text, "%-8s %15d   %15.0f /s\n", name, count, PerSecond(count, elapsed));
  };
  add_rate("calls", measurements.calls());
  add_rate("rows", measurements.rows);
  add_rate("bytes", measurements.bytes);
  absl::StrAppend(&text, "latency");
  if (measurements.calls() == 0) {
    absl::StrAppend(&text, "  none: no call succeeded");
  } else {
    for (const NamedPercentile& named : kPercentiles) {
      absl::StrAppendFormat(&text, "  %s %.3f", named.label,
                            Milliseconds(measurements.latency_ns.Percentile(named.percent)));
    }
    absl::StrAppend(&text, "  ms");
  }
  absl::StrAppend(&text, "\nerrors  ");
  if (measurements.errors.empty()) absl::StrAppend(&text, " none");
  for (const auto& [code, count] : measurements.errors) {
    absl::StrAppend(&text, " ", code, " ", count);
  }
  if (measurements.failed_rows > 0) {
    absl::StrAppend(&text, "; ", Counted(measurements.failed_rows, "row"), " failed");
  }
  return absl::StrCat(text, "\n");
}

std::string LoadJson(const Measurements& measurements, absl::Duration elapsed) {
  nlohmann::ordered_json latency = {{"mean", measurements.latency_ns.Mean() / 1e6},
                                    {"min", Milliseconds(measurements.latency_ns.min())}};
  for (const NamedPercentile& named : kPercentiles) {
    latency[named.key] = Milliseconds(measurements.latency_ns.Percentile(named.percent));
  }
  const nlohmann::ordered_json json = {{"duration_s", absl::ToDoubleSeconds(elapsed)},
                                       {"calls", measurements.calls()},
                                       {"rows", measurements.rows},
                                       {"bytes", measurements.bytes},
                                       {"calls_per_s", PerSecond(measurements.calls(), elapsed)},
                                       {"rows_per_s", PerSecond(measurements.rows, elapsed)},
                                       {"bytes_per_s", PerSecond(measurements.bytes, elapsed)},
                                       {"latency_ms", latency},
                                       {"failed_calls", measurements.failed_calls},
                                       {"failed_rows", measurements.failed_rows},
                                       {"errors", nlohmann::ordered_json(measurements.errors)}};
  return absl::StrCat(json.dump(2), "\n");
}

}  // namespace token_sampler::client
