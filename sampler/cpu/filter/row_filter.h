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

  // Applies the stages in the row's order, until the row becomes greedy.
  void Run(ScannedRow& row);

  // The row of whose order the survivors are a prefix: that of Run, or one that a stage made of it.
  ScannedRow& row() { return *row_; }

  // The end of the survivors: the last one, or a place after it and before the next token.
  const Cutoff& last() const { return last_; }

  // True if the first survivors are taken without a draw. If false, the survivors have weights.
  bool greedy() const { return greedy_; }

  // The weigher and the temperature of the survivors' weights, and the sum of these.
  const Weigher& weigher() const { return weigher_; }
  double temperature() const { return temperature_; }
  uint64_t total() const { return total_; }

  // True if list() has the survivors, with weights. If false, block_mass(i) is the sum of the
  // weights of those in block i.
  bool listed() const { return listed_; }
  TokenList& list() { return list_; }
  uint64_t block_mass(int64_t block) const { return block_mass_[static_cast<size_t>(block)]; }

  // Makes listed() true.
  void List();

  // Returns the probabilities of a drawn token that the next state depends on.
  DrawnProbabilities ProbabilitiesOf(uint32_t token_id);

 private:
  // A row and its weights before a stage.
  struct Weighed {
    const ScannedRow* row;
    Weigher weigher;
    uint64_t total;

    double ProbabilityOf(uint32_t token_id) const;
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

  // Adds the weights of the tokens of list_ up to last_ to block_mass_ and total_.
  void AddToBlocks();

  // Sets total_, and block_mass_ if the survivors are not listed, unless they are up to date.
  void Sum();

  template <size_t... kEach>
  static std::array<RemadeRow, sizeof...(kEach)> MakeRemadeRows(const Kernels& kernels,
                                                                std::index_sequence<kEach...>) {
    return {(static_cast<void>(kEach), RemadeRow(kernels))...};
  }

  const Kernels& kernels_;
  CutoffFinder cutoffs_;
  NucleusGuess guess_;
  ScannedRow* row_ = nullptr;

  std::array<RemadeRow, kNumRemakingStages> remade_;  // no stage acts twice
  size_t num_remade_ = 0;
  TypicalFilter typical_;

  Weigher weigher_;
  double temperature_ = 1.0;
  bool greedy_ = false;
  bool used_mirostat_ = false;
  std::optional<Weighed> before_adaptive_p_;
  std::optional<Cutoff> least_;  // EndOfLeast(), once it is known
  Cutoff last_ = {};
  bool listed_ = false;
  bool summed_ = false;
  uint64_t total_ = 0;
  TokenList list_;
  TokenList first_;
  Buffer<uint64_t> keys_;
  std::vector<Token> fitted_;  // the tokens that mirostat 1 fits
  Buffer<uint64_t> block_mass_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_ROW_FILTER_H_
