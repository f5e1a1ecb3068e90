// Compares the cost of a step of a stream with that of a single call with the same rows. Both use
// the client library and a server in this process, in turns in one run.
//
// Usage: token-sampler-stream-bench

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "server/program/server.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/sequence_stream.h"

namespace token_sampler {
namespace {

constexpr int kWarmUps = 20;
constexpr int kTurns = 200;

enum class Text {
  kEven,  // all tokens equally likely
  kZipf,  // the n-th token has a probability near 1 / n, like words of a language
  kSame,  // one token again and again
};

struct Case {
  uint64_t rows;
  uint32_t vocab;
  size_t history;  // tokens of each prompt
  const char* name;
  client::SamplingParams params;
  Text text = Text::kEven;
};

uint32_t SomeToken(Text text, uint32_t vocab, std::mt19937& random) {
  switch (text) {
    case Text::kEven:
      return static_cast<uint32_t>(random() % vocab);
    case Text::kZipf:
      return static_cast<uint32_t>(std::pow(vocab, static_cast<double>(random()) * 0x1p-32)) - 1;
    case Text::kSame:
      break;
  }
  return 7;
}

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(EXIT_FAILURE);
}

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

template <typename Call>
double Microseconds(const Call& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - begin;
  return spent.count();
}

void Measure(const client::SamplerClient& client, const Case& c) {
  std::mt19937 random(1);
  const auto logits = std::make_shared<std::vector<float>>(c.rows * c.vocab);
  for (float& logit : *logits) logit = static_cast<float>(random() % 1000) / 100;
  client::SampleRequest call;
  call.matrix = client::Float32Matrix(*logits, c.vocab);
  call.matrix.owner = logits;  // both are sent without a copy
  call.params = {c.params};
  client::OpenRequest open;
  open.vocab = c.vocab;
  open.params = {c.params};
  client::StepRequest step;
  step.matrix = call.matrix;
  for (uint64_t id = 0; id < c.rows; ++id) {
    std::vector<uint32_t> prompt(c.history);
    for (uint32_t& token : prompt) token = SomeToken(c.text, c.vocab, random);
    call.keys.seeds.push_back(id);
    if (c.history > 0) call.histories.push_back({.prompt_ids = prompt});
    open.sequences.push_back({.sequence_id = id, .seed = id, .prompt_ids = prompt});
    step.sequence_ids.push_back(id);
  }
  client::SequenceStream stream = client.OpenStream();
  Require(stream.Open(open).status());

  std::vector<double> call_us;
  std::vector<double> step_us;
  for (int turn = -kWarmUps; turn < kTurns; ++turn) {
    double one = 0;
    double other = 0;
    const auto call_once = [&] {
      one = Microseconds([&] { Require(client.Sample(call).status()); });
    };
    // Alternate the order, so that neither always finds the caches as the other left them.
    if (turn % 2 == 0) call_once();
    other = Microseconds([&] { Require(stream.Step(step).status()); });
    if (turn % 2 != 0) call_once();
    if (turn < 0) continue;
    call_us.push_back(one);
    step_us.push_back(other);
  }
  const double call_median = Median(call_us);
  const double step_median = Median(step_us);
  std::printf("%4llu %8u %8zu  %-12s %9.0f %9.0f %6.2f\n", static_cast<unsigned long long>(c.rows),
              c.vocab, c.history, c.name, call_median, step_median, step_median / call_median);
}

int Run() {
  absl::StatusOr<std::unique_ptr<Sampler>> sampler = CreateCpuSampler({});
  Require(sampler.status());
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options, **sampler);
  Require(server.status());
  absl::StatusOr<client::SamplerClient> client =
      client::SamplerClient::Connect((*server)->addresses()[0]);
  Require(client.status());
  const client::SamplingParams plain = {.top_k = 50, .top_p = 0.9};
  const client::SamplingParams penalties = {
      .top_k = 50, .top_p = 0.9, .repetition_penalty = 1.1, .presence_penalty = 0.5};
  std::printf("rows    vocab   prompt  parameters     call us   step us  ratio (medians of %d)\n",
              kTurns);
  for (const Case& c : {Case{1, 1, 0, "plain", plain}, Case{64, 1, 0, "plain", plain},
                        Case{64, 1000, 0, "plain", plain}, Case{64, 32000, 0, "plain", plain},
                        Case{64, 1000, 2000, "penalties", penalties},
                        Case{64, 32000, 2000, "penalties", penalties}}) {
    Measure(*client, c);
  }
  const client::SamplingParams dry = {.top_k = 50, .dry = client::Dry{.multiplier = 0.8}};
  const client::SamplingParams ngrams = {.top_k = 50, .no_repeat_ngram_size = 4};
  for (const size_t history : {10'000, 100'000, 1'000'000}) {
    Measure(*client, {1, 32000, history, "dry", dry, Text::kZipf});
    Measure(*client, {1, 32000, history, "n-grams", ngrams, Text::kZipf});
    Measure(*client, {1, 32000, history, "dry, same", dry, Text::kSame});
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace token_sampler

int main() { return token_sampler::Run(); }
