// What the stages of a row leave of it, without sorting.
//
// Every filter keeps a prefix of the total order, so all that must be known of the survivors is the
// last one. A filter that keeps few makes a list of them, which later ones narrow; else the row is
// weighed in blocks.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_ROW_FILTER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_ROW_FILTER_H_

#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/cutoff_finder.h"
#include "sampler/cpu/kernels.h"
#include "sampler/cpu/nucleus_guess.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/token_list.h"

namespace token_sampler::cpu {

// Not thread-safe. Reuses its memory from row to row.
class RowFilter {
 public:
  explicit RowFilter(const Kernels& kernels)
      : kernels_(kernels), cutoffs_(kernels), guess_(kernels) {}

  // Lets the stages of the row's order act that are temperature (above 0), min-p, top-k or top-p.
  void Run(ScannedRow& row);

  // The last survivor, or one behind it in the order.
  const Cutoff& last() const { return last_; }

  // What the survivors were weighed with, and the sum of their weights.
  const Weigher& weigher() const { return weigher_; }
  double temperature() const { return temperature_; }
  uint64_t total() const { return total_; }

  // Whether list() holds the survivors, weighed; else block_mass(i) is what those of block i weigh.
  bool listed() const { return listed_; }
  TokenList& list() { return list_; }
  uint64_t block_mass(int64_t block) const { return block_mass_[static_cast<size_t>(block)]; }

  // Makes sure that listed().
  void List();

 private:
  void SetTemperature(double temperature);
  void KeepMinP(double min_p);
  void KeepTopK(uint64_t count);
  void KeepTopP(double top_p);

  // Top-p where the likeliest few tokens are nearly all of the mass; false, without a change, else.
  bool KeepTopPOfHead(double top_p, const Weigher& weigher);

  // A value below which no token weighs `threshold`, and one from which all do.
  ValueRange MinPRange(uint64_t threshold) const;

  // The least value that min-p keeps.
  float MinPValue(uint64_t threshold);

  // Ends the survivors where list_ has reached `mass`, and leaves the survivors in it.
  void KeepMass(uint64_t mass);

  // Takes all tokens >= value into list_.
  void ListFrom(float value);

  // Ends the survivors at the last token of `value`, unless they end before.
  void EndAt(float value);

  // Adds the first tokens of list_, up to last_, to their blocks.
  void AddToBlocks();

  // Weighs the survivors, unless they are.
  void Sum();

  const Kernels& kernels_;
  CutoffFinder cutoffs_;
  NucleusGuess guess_;
  ScannedRow* row_ = nullptr;

  Weigher weigher_;
  double temperature_ = 1.0;
  Cutoff last_ = {};
  bool listed_ = false;
  bool summed_ = false;
  uint64_t total_ = 0;
  TokenList list_;
  Buffer<uint64_t> block_mass_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_ROW_FILTER_H_
