// What the stages of a row leave of it, without sorting.
//
// Nearly every filter keeps a prefix of the total order, so all that must be known of the survivors
// is the last one. A filter that keeps few, or that needs sums over all of them, makes a list of
// them, which later ones narrow; else the row is weighed in blocks. The few stages that keep no
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

  // Lets the stages of the row's order act, up to where it becomes greedy.
  void Run(ScannedRow& row);

  // What the survivors are a prefix of: the row, or one that a stage made of it.
  ScannedRow& row() { return *row_; }

  // The last survivor, or one behind it in the order.
  const Cutoff& last() const { return last_; }

  // Whether the first survivor is taken without a draw. Else the survivors are weighed.
  bool greedy() const { return greedy_; }

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

  // What the next state of stateful stages depends on.
  DrawnProbabilities ProbabilitiesOf(uint32_t token_id);

 private:
  // A row as it was weighed before a stage.
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

  // The rarer stages.
  void ActTemperature();
  void KeepEta(double eta);
  void KeepPLess();
  void KeepMirostat();
  void RemoveTopChoices();
  void ActAdaptiveP();

  // The longest prefix of tokens that weigh `threshold` or more.
  void KeepWeight(uint64_t threshold);

  // Ends the survivors before tokens below `value`; they must be listed.
  void KeepListed(float value);

  // Undoes what a filter took of the first tokens that every filter must keep.
  void KeepLeast();

  // With TiePolicy::kKeepAll also of those that equal the last of them and survived until `before`.
  void KeepLeastAndTies(const Cutoff& before);

  // Ends the survivors no earlier than at `end`.
  void KeepUpTo(const Cutoff& end);

  // The end of the first tokens, which every filter must keep.
  const Cutoff& EndOfLeast();
  Cutoff EndOfFirst(uint64_t count);

  // Makes a row of what is listed, its values being of this kind, and leaves it unweighed.
  void Remake(InputKind kind);

  // Top-p where the likeliest few tokens are nearly all of the mass; false, without a change, else.
  bool KeepTopPOfHead(double top_p, const Weigher& weigher);

  // A value below which no token weighs `threshold`, and one from which all do.
  ValueRange MinPRange(uint64_t threshold) const;

  // The least value of the longest prefix of tokens that weigh it, 1 .. what the first weighs.
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
  std::optional<Cutoff> least_;  // where the tokens end that every filter keeps, once known
  Cutoff last_ = {};
  bool listed_ = false;
  bool summed_ = false;
  uint64_t total_ = 0;
  TokenList list_;
  TokenList first_;
  Buffer<uint64_t> keys_;
  std::vector<Token> fitted_;  // by mirostat 1
  Buffer<uint64_t> block_mass_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_ROW_FILTER_H_
