// Limits the lines of one reason in the log, so that a client that repeats itself does not fill it.

#ifndef TOKEN_SAMPLER_SERVER_LOGGING_LOG_LIMIT_H_
#define TOKEN_SAMPLER_SERVER_LOGGING_LOG_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "server/batching/clock.h"

namespace token_sampler {

// The reason of a line is its beginning without digits. Not thread-safe.
class LogLimit {
 public:
  struct Verdict {
    bool take = true;
    uint64_t left_out = 0;  // if `take`: lines of this reason left out since the last one that was
                            // taken
  };

  // Takes at most `max_lines` lines of a reason per second.
  explicit LogLimit(uint64_t max_lines) : max_lines_(max_lines) {}

  Verdict Check(absl::string_view message, TimePoint now);

 private:
  struct Reason {
    TimePoint since;
    uint64_t lines = 0;
    uint64_t left_out = 0;
  };

  const uint64_t max_lines_;
  absl::flat_hash_map<std::string, Reason> reasons_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LOGGING_LOG_LIMIT_H_
