// Formats the measurements of a load test, for people and for programs.

#ifndef TOKEN_SAMPLER_CLIENT_LOAD_REPORT_H_
#define TOKEN_SAMPLER_CLIENT_LOAD_REPORT_H_

#include <string>

#include "absl/time/time.h"
#include "client/load/recorder.h"

namespace token_sampler::client {

// One line for the running test: rates since the start.
std::string LoadProgress(const Measurements& measurements, absl::Duration elapsed);

std::string LoadTable(const Measurements& measurements, absl::Duration elapsed);

// One object: duration_s; the successful calls, their rows, bytes, rates and latency_ms by
// percentile; failed_calls, failed_rows and errors by status code.
std::string LoadJson(const Measurements& measurements, absl::Duration elapsed);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_LOAD_REPORT_H_
