// Prints how much CPU time rows of every kind take, and how long the longest piece of each is
// between two questions to its pace.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "sampler/cpu_sampler.h"
#include "sampler/describe.h"
#include "tests/testing/long_rows.h"

namespace token_sampler::bench {
namespace {

constexpr char kUsage[] = R"(Usage: token-sampler-pace-bench [--vocab N] [--threads N] [NAME]

  --vocab N      length of the rows, their draws and lists (default: 16777216)
  --threads N    of the sampler (default 1)
  NAME           rows whose name begins so alone

Times are those that the process, and for the longest piece the asking thread, spent on a CPU, so that
other processes do not lengthen them.
)";

double CpuSeconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Always goes on, and notes the times of the questions. One thread asks.
class TimedPace final : public Pace {
 public:
  bool GoOn() override {
    const double now = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
    longest_ = std::max(longest_, now - last_);
    last_ = now;
    ++asked_;
    return true;
  }

  double longest() const { return longest_; }
  int64_t asked() const { return asked_; }

 private:
  double last_ = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
  double longest_ = 0;
  int64_t asked_ = 0;
};

template <class Body>
double Seconds(const Body& body) {
  const double begin = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
  body();
  return CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - begin;
}

template <class Sample>
void Measure(const std::string& name, const Sample& sample) {
  const double plain = Seconds([&] { sample(nullptr); });
  TimedPace pace;
  const double paced = Seconds([&] {
    sample(&pace);
    pace.GoOn();
  });
  std::printf("| %s | %.0f | %.0f | %lld | %.2f |\n", name.c_str(), plain * 1e3, paced * 1e3,
              static_cast<long long>(pace.asked()), pace.longest() * 1e3);
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  size_t vocab = size_t{1} << 24;
  int threads = 1;
  std::string begin;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--vocab") == 0 && i + 1 < argc) {
      vocab = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (argv[i][0] == '-') {
      std::fputs(kUsage, stderr);
      return 2;
    } else {
      begin = argv[i];
    }
  }
  const auto many = static_cast<uint32_t>(std::min<size_t>(vocab, kMaxDraws));
  const auto sampler = CreateCpuSampler({.threads = threads});
  if (!sampler.ok()) return 2;
  std::puts("| row | CPU ms without a pace | with one | questions | longest piece, ms |");
  std::puts("|---|---|---|---|---|");
  testing::ForEachLongRow(vocab, many, vocab, [&](testing::LongRow& row) {
    if (row.name.rfind(begin, 0) != 0) return;
    RowResult results[2];  // which outlive the sampling, as in a server
    Measure(row.name, [&](Pace* pace) {
      const RowInput input = row.Input(pace);
      RowResult& result = results[pace == nullptr ? 0 : 1];
      if (!(*sampler)->Sample({&input, 1}, {&result, 1}).ok()) std::abort();
    });
    if (row.name != "plain" && row.name != "typical") return;
    Measure("Describe, " + row.name, [&](Pace* pace) {
      DescribeRow(row.Input(pace), 10, results[pace == nullptr ? 0 : 1]);
    });
  });
  return 0;
}

}  // namespace
}  // namespace token_sampler::bench

int main(int argc, char** argv) { return token_sampler::bench::Main(argc, argv); }
