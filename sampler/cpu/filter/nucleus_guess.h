// Guesses where the nucleus of top-p ends, from the head of a row and a sample of the rest. The
// guess may be wrong: it only decides where to search first.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_NUCLEUS_GUESS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_NUCLEUS_GUESS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/token_list.h"

namespace token_sampler::cpu {

// Not thread-safe; reuses its memory from call to call.
class NucleusGuess {
 public:
  explicit NucleusGuess(const Kernels& kernels) : kernels_(kernels) {}

  // Returns the range of values in which the last token of the nucleus of the tokens >=
  // weigher.floor probably is. Its upper end is infinity if that token may be in the head; its
  // lower end is weigher.floor if it may be the last of all.
  ValueRange Find(ScannedRow& row, const Weigher& weigher, double top_p);

  // The few likeliest tokens of the row of the last Find, with weights: all with a value >=
  // head_value().
  TokenList& head() { return head_; }
  float head_value() const { return head_value_; }

 private:
  static constexpr uint32_t kBins = 256;
  static constexpr size_t kTables = 4;

  float SmallestOfSample(size_t count, Pace* pace);

  void TakeHead(ScannedRow& row, const Weigher& weigher);

  // Fills mass_ with the sums of the weights of the sample's tokens below `head`, in bins by their
  // distance from it. Returns the sum of all.
  uint64_t Distribute(float head, float scale, const Weigher& weigher, size_t count, Pace* pace);

  const Kernels& kernels_;
  TokenList head_;
  float head_value_ = 0;
  Buffer<float> sample_;
  Buffer<float> column_max_;
  Buffer<uint64_t> weights_;
  Buffer<uint32_t> bins_;
  // Neighbours in the sample add to different tables, so that no addition waits for the previous
  // one.
  std::array<std::array<uint64_t, kBins>, kTables> tables_;
  std::array<uint64_t, kBins> mass_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_NUCLEUS_GUESS_H_
