// Applies the stages to a row and finds the survivors, without sorting.
//
// Nearly every filter keeps a prefix of the total order, so it is enough to know the last survivor.
// A filter that keeps few tokens, or that needs sums over all of them, makes a list of them, which
// later filters narrow; otherwise the row is weighed in blocks. The few stages that do not keep a
// prefix make a new row of the list.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_ROW_FILTER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_ROW_FILTER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/distribution.h"
#include "sampler/cpu/filter/cutoff_finder.h"
#include "sampler/cpu/filter/nucleus_guess.h"
#include "sampler/cpu/filter/remade_row.h"
#include "sampler/cpu/filter/typical_filter.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/token_list.h"
#include "sampler/params/stage_table.h"
#include "sampler/rows/token.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler::cpu {

// Not thread-safe. Reuses its memory from row to row.
class RowFilter {
 public:
  explicit RowFilter(const Kernels& kernels)
      : kernels_(kernels),
        cutoffs_(kernels),
        guess_(kernels),
        remade_(MakeRemadeRows(kernels, std::make_index_sequence<kNumRemakingStages>())) {}

  // Applies the stages in the row's order, until the row becomes greedy. Returns the survivors,
  // which are tokens of `row` or of a row that a stage made of it. Valid until the next call.
  const Distribution& Run(ScannedRow& row);

  // True if list() has the survivors, with weights. If false, and the survivors are not greedy,
  // block_mass(i) is the sum of the weights of those in block i.
  bool Listed() const { return known_ == Known::kList; }
  TokenList& list() { return list_; }
  uint64_t block_mass(int64_t block) const { return block_mass_[static_cast<size_t>(block)]; }

  // Makes Listed() true.
  void List();

  // Returns the probabilities of a drawn token that the next state depends on.
  DrawnProbabilities ProbabilitiesOf(uint32_t token_id);

 private:
  // How much is known of the survivors besides their end.
  enum class Known {
    kEnd,        // nothing
    kBlockMass,  // kept_.total and block_mass_, the sums of their weights
    kList,       // list_ has exactly the survivors, with weights; Sum() sets kept_.total
  };

  void Begin(ScannedRow& row);
  void Act(Stage stage);

  void SetTemperature(double temperature);
  void KeepMinP(double min_p);
  void KeepTopK(uint64_t count, TiePolicy ties);
  void KeepTopP(double top_p);

  // The less common stages.
  void ActTemperature();
  void KeepEta(double eta);
  void KeepPLess();
  void KeepMirostat();
  void RemoveTopChoices();
  void ActAdaptiveP();

  // Keeps the longest prefix of tokens with a weight of at least `threshold`.
  void KeepWeight(uint64_t threshold);

  // Keeps the tokens with a value >= `value`. The survivors must be listed.
  void KeepListed(float value);

  // Restores those of the first min_tokens_to_keep tokens that a filter removed.
  void KeepLeast();

  // With TiePolicy::kKeepAll also restores tokens that tie with the last of those, as far as they
  // survived up to `before`.
  void KeepLeastAndTies(const Cutoff& before);

  // Keeps all tokens up to `end`, even if they were removed.
  void KeepUpTo(const Cutoff& end);

  // Return the end of the first min_tokens_to_keep, or `count`, tokens.
  const Cutoff& EndOfLeast();
  Cutoff EndOfFirst(uint64_t count);

  // Makes a new row of the list, whose values are of `kind`. Does not compute its weights.
  void Remake(InputKind kind);

  // Applies top-p if the likeliest few tokens have nearly all of the mass. If not, returns false
  // and leaves the survivors as they are; list_ may be overwritten.
  bool KeepTopPOfHead(double top_p, const Weigher& weigher);

  // Returns a value below which no token has a weight of `threshold`, and one from which on all
  // have at least that.
  ValueRange MinPRange(uint64_t threshold) const;

  // Returns the least value of the longest prefix of tokens with a weight of at least `threshold`,
  // which is in 1 .. the weight of the first token.
  float MinPValue(uint64_t threshold);

  // Keeps the shortest prefix of list_ with at least `mass`.
  void KeepMass(uint64_t mass);

  // Fills list_ with all tokens with a value >= `value`, with weights.
  void ListFrom(float value);

  // Ends the survivors after the last token of `value`, unless they end before.
  void EndAt(float value);

  // Adds the weights of the tokens of list_ up to kept_.last to block_mass_ and kept_.total.
  void AddToBlocks();

  // Sets kept_.total, and block_mass_ unless the survivors are listed.
  void Sum();

  template <size_t... kEach>
  static std::array<RemadeRow, sizeof...(kEach)> MakeRemadeRows(const Kernels& kernels,
                                                                std::index_sequence<kEach...>) {
    return {(static_cast<void>(kEach), RemadeRow(kernels))...};
  }

  const Kernels& kernels_;
  CutoffFinder cutoffs_;
  NucleusGuess guess_;
  TypicalFilter typical_;

  // The survivors so far. A function that changes their row, end or weigher must leave known_ true
  // of the new survivors. When known_ is not kList, list_ is scratch.
  Distribution kept_;
  Known known_ = Known::kEnd;
  std::optional<Cutoff> least_;                       // EndOfLeast() of kept_.row, once it is known
  std::array<RemadeRow, kNumRemakingStages> remade_;  // no stage acts twice
  size_t num_remade_ = 0;

  // For the next state.
  bool used_mirostat_ = false;
  std::optional<Distribution> before_adaptive_p_;

  TokenList list_;
  TokenList first_;
  Buffer<uint64_t> keys_;
  std::vector<Token> fitted_;  // the tokens that mirostat 1 fits
  Buffer<uint64_t> block_mass_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_ROW_FILTER_H_
