// Prints how much CPU time rows of every kind take, and the longest time of each between two calls
// of its pace.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/describe.h"
#include "tests/testing/long_rows.h"

namespace token_sampler::bench {
namespace {

constexpr char kUsage[] =
    R"(Usage: token-sampler-pace-bench [--vocab N] [--threads N] [--runs N] [NAME]

  --vocab N      length of the rows, their draws and lists (default: 16777216)
  --threads N    of the sampler (default 1)
  --runs N       of each row with a pace, of which each piece's least time counts (default 3)
  NAME           rows whose name begins so alone

Times are those that the process, and for the longest piece the asking thread, spent on a CPU. Other
processes lengthen them all the same where they share its caches and its memory.
)";

double CpuSeconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// A pace that always goes on, and records the times between calls. For one thread.
class TimedPace final : public Pace {
 public:
  bool GoOn() override {
    const double now = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
    pieces_.push_back(now - last_);
    last_ = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
    return true;
  }

  const std::vector<double>& pieces() const { return pieces_; }

 private:
  double last_ = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
  std::vector<double> pieces_;
};

// The least times of several runs of a row.
class Least {
 public:
  void Add(double seconds, const std::vector<double>& pieces) {
    seconds_ = std::min(seconds_, seconds);
    if (pieces_.empty()) pieces_ = pieces;
    // A run that reuses memory of an earlier one may ask less often.
    if (pieces.size() != pieces_.size()) {
      if (Longest(pieces) < Longest(pieces_)) pieces_ = pieces;
      return;
    }
    for (size_t i = 0; i < pieces.size(); ++i) pieces_[i] = std::min(pieces_[i], pieces[i]);
  }

  double seconds() const { return seconds_; }
  size_t asked() const { return pieces_.size(); }
  double longest() const { return Longest(pieces_); }

 private:
  static double Longest(const std::vector<double>& pieces) {
    return *std::max_element(pieces.begin(), pieces.end());
  }

  double seconds_ = std::numeric_limits<double>::infinity();
  std::vector<double> pieces_;
};

template <class Body>
double Seconds(const Body& body) {
  const double begin = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
  body();
  return CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - begin;
}

template <class Sample>
void Measure(const std::string& name, int runs, const Sample& sample) {
  const double plain = Seconds([&] { sample(nullptr); });
  Least paced;
  for (int run = 0; run < runs; ++run) {
    TimedPace pace;
    const double seconds = Seconds([&] {
      sample(&pace);
      pace.GoOn();
    });
    paced.Add(seconds, pace.pieces());
  }
  std::printf("| %s | %.0f | %.0f | %zu | %.2f |\n", name.c_str(), plain * 1e3,
              paced.seconds() * 1e3, paced.asked(), paced.longest() * 1e3);
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  size_t vocab = size_t{1} << 24;
  int threads = 1;
  int runs = 3;
  std::string begin;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--vocab") == 0 && i + 1 < argc) {
      vocab = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--runs") == 0 && i + 1 < argc) {
      runs = std::max(std::atoi(argv[++i]), 1);
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
    RowResult results[2];  // which outlive the sampling, like in a server
    Measure(row.name, runs, [&](Pace* pace) {
      const RowInput input = row.Input(pace);
      RowResult& result = results[pace == nullptr ? 0 : 1];
      if (!(*sampler)->Sample({&input, 1}, {&result, 1}).ok()) std::abort();
    });
    if (row.name != "plain" && row.name != "typical") return;
    Measure("Describe, " + row.name, runs, [&](Pace* pace) {
      DescribeRow(row.Input(pace), 10, results[pace == nullptr ? 0 : 1]);
    });
  });
  return 0;
}

}  // namespace
}  // namespace token_sampler::bench

int main(int argc, char** argv) { return token_sampler::bench::Main(argc, argv); }
