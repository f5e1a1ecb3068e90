#include "sampler/verify_draft.h"

#include <cstddef>
#include <limits>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sampler/philox.h"
#include "sampler/pipeline.h"
#include "sampler/wide_integer.h"

namespace token_sampler {
namespace {

constexpr int32_t kRoot = -1;
constexpr int32_t kNone = -1;
constexpr int kResidualBits = 62;

// A distribution over the tokens of a row: the probability of `id` is weights[id] / total.
struct Masses {
  std::vector<uint64_t> weights;  // [vocab]
  uint64_t total = 0;             // > 0
};

Masses MassesOf(const StagedRow& staged, int64_t vocab) {
  Masses masses;
  masses.weights.resize(static_cast<size_t>(vocab));
  if (staged.greedy) {
    masses.weights[staged.survivors.tokens.front().id] = 1;
    masses.total = 1;
    return masses;
  }
  for (const Token& token : staged.survivors.tokens) masses.weights[token.id] = token.weight;
  masses.total = staged.survivors.TotalWeight();
  return masses;
}

// Whether a token drawn from `draft` is accepted: with probability min(1, target / draft).
bool Accepts(Uint128 uniform, const Masses& target, const Masses& draft, uint32_t id) {
  return ScaleUniformWide(uniform, Uint128{draft.weights[id]} * target.total) <
         Uint128{target.weights[id]} * draft.total;
}

// Makes `target` what a rejected token of `draft` leaves of it, max(0, target - draft). Something
// is left, because the draft exceeds the target at the rejected token.
void LeaveResidual(const Masses& draft, Masses& target) {
  const auto residual = [&](size_t id) {
    const Uint128 kept = Uint128{target.weights[id]} * draft.total;
    const Uint128 taken = Uint128{draft.weights[id]} * target.total;
    return kept > taken ? kept - taken : 0;
  };
  Uint128 sum = 0;
  for (size_t id = 0; id < target.weights.size(); ++id) sum += residual(id);
  int shift = 0;
  while (sum >> shift >> kResidualBits != 0) ++shift;
  uint64_t total = 0;
  for (size_t id = 0; id < target.weights.size(); ++id) {
    target.weights[id] = static_cast<uint64_t>(residual(id) >> shift);
    total += target.weights[id];
  }
  target.total = total;
}

// The first token, by id, whose running sum of weights exceeds the scaled uniform.
uint32_t DrawFrom(const Masses& masses, Uint128 uniform) {
  const uint64_t target = ScaleUniform(uniform, masses.total);
  size_t id = 0;
  for (uint64_t mass = masses.weights[0]; mass <= target; mass += masses.weights[id]) ++id;
  return static_cast<uint32_t>(id);
}

// A sequence's history as accepted tokens lengthen its output.
class GrowingHistory {
 public:
  explicit GrowingHistory(const RowHistory* start) {
    if (start == nullptr) return;
    history_ = *start;
    output_ids_.assign(start->output_ids.begin(), start->output_ids.end());
    count_ids_.assign(start->output_count_ids.begin(), start->output_count_ids.end());
    counts_.assign(start->output_counts.begin(), start->output_counts.end());
    for (size_t i = 0; i < count_ids_.size(); ++i) places_.emplace(count_ids_[i], i);
  }

  void Add(uint32_t id) {
    if (count_ids_.empty()) {
      output_ids_.push_back(id);
      return;
    }
    const size_t at = places_.try_emplace(id, count_ids_.size()).first->second;
    if (at == count_ids_.size()) {
      count_ids_.push_back(id);
      counts_.push_back(0);
    }
    if (counts_[at] < std::numeric_limits<uint32_t>::max()) ++counts_[at];
  }

  // Valid until the next Add.
  const RowHistory* Get() {
    history_.output_ids = output_ids_;
    history_.output_count_ids = count_ids_;
    history_.output_counts = counts_;
    return &history_;
  }

 private:
  RowHistory history_;
  std::vector<uint32_t> output_ids_;
  std::vector<uint32_t> count_ids_;
  std::vector<uint32_t> counts_;
  std::unordered_map<uint32_t, size_t> places_;  // of count_ids_
};

// One sequence's way from the root along accepted nodes, until a token is drawn that was not
// drafted or a row fails.
class Walk {
 public:
  Walk(const DraftInput& draft, DraftResult& result)
      : draft_(draft), result_(result), history_(draft.history) {
    result_.Clear();
    const auto nodes = static_cast<int32_t>(draft.token_ids.size());
    first_child_.assign(draft.token_ids.size() + 1, kNone);
    next_sibling_.assign(draft.token_ids.size(), kNone);
    for (int32_t node = nodes - 1; node >= 0; --node) {
      const int32_t parent =
          draft.parents.empty() ? node - 1 : draft.parents[static_cast<size_t>(node)];
      next_sibling_[static_cast<size_t>(node)] = std::exchange(ChildOf(parent), node);
    }
  }

  bool ended() const { return ended_; }

  // Goes as far as decisions against draft rows lead.
  void DecideByDraftRows() {
    while (!ended_ && !draft_.draft.empty() && ChildOf(node_) != kNone) DecideOnce();
  }

  // The row of the present node.
  RowInput TargetRow() {
    RowInput row = draft_.target[RowOf(node_)];
    row.params = draft_.params;
    row.key = draft_.key;
    row.key.step += result_.accepted_nodes.size();
    row.history = history_.Get();
    row.outputs = nullptr;
    row.state = nullptr;
    return row;
  }

  // What TargetRow's draw came to.
  void TakeSampled(const RowResult& sampled) {
    if (Succeeded("target", RowOf(node_), sampled)) Take(sampled.token_ids[0]);
  }

 private:
  // The place of a node's row in `target`; the root's is 0.
  static size_t RowOf(int32_t node) { return static_cast<size_t>(node) + 1; }

  int32_t& ChildOf(int32_t node) { return first_child_[RowOf(node)]; }

  // Notes a row's code in the result. False when the sequence has failed by it.
  bool Succeeded(absl::string_view tensor, size_t index, const RowResult& row) {
    if (row.code == RowCode::kOk) return true;
    ended_ = !HasTokens(row.code);
    if (ended_) result_.Clear();
    if (result_.code == RowCode::kOk) {
      result_.code = row.code;
      result_.message = absl::StrCat(tensor, " row ", index, ": ", row.message);
    }
    return !ended_;
  }

  void Accept(int32_t node) {
    node_ = node;
    const uint32_t id = draft_.token_ids[static_cast<size_t>(node)];
    history_.Add(id);
    result_.accepted_nodes.push_back(static_cast<uint32_t>(node));
    result_.token_ids.push_back(id);
  }

  // Accepts the first child that holds the target's own token; without one the walk ends.
  void Take(uint32_t id) {
    int32_t child = ChildOf(node_);
    while (child != kNone && draft_.token_ids[static_cast<size_t>(child)] != id) {
      child = next_sibling_[static_cast<size_t>(child)];
    }
    if (child != kNone) return Accept(child);
    result_.token_ids.push_back(id);
    ended_ = true;
  }

  // Accepts one of the present node's children, or draws what they leave of the target.
  void DecideOnce() {
    const RowInput row = TargetRow();
    ProcessedRow processed;
    RowResult outcome;
    ProcessRow(row, processed, outcome);
    if (!Succeeded("target", RowOf(node_), outcome)) return;
    if (processed.staged.greedy) return Take(processed.staged.survivors.tokens.front().id);
    Masses target = MassesOf(processed.staged, row.vocab);
    uint32_t index = 0;
    for (int32_t child = ChildOf(node_); child != kNone; ++index) {
      Masses drafted;
      if (!ReadDraftRow(child, row, drafted)) return;
      const uint32_t id = draft_.token_ids[static_cast<size_t>(child)];
      // A token that its own row rules out was not drawn from it, and says nothing of the target.
      if (drafted.weights[id] > 0) {
        const Uint128 uniform = UniformBits(row.key, RandomDomain::kDraftAccept, index);
        if (Accepts(uniform, target, drafted, id)) return Accept(child);
        LeaveResidual(drafted, target);
      }
      child = next_sibling_[static_cast<size_t>(child)];
    }
    result_.token_ids.push_back(
        DrawFrom(target, UniformBits(row.key, RandomDomain::kDraftResidual, 0)));
    ended_ = true;
  }

  // What `node` was drawn from: a row beside `target`, the row of its parent.
  bool ReadDraftRow(int32_t node, const RowInput& target, Masses& masses) {
    const RowInput& given = draft_.draft[static_cast<size_t>(node)];
    RowInput row = target;
    row.values = given.values;
    row.dtype = given.dtype;
    row.kind = given.kind;
    const SamplingParams untouched;
    if (row.kind == InputKind::kWeights) {
      row.params = &untouched;
      row.history = nullptr;
      row.bitmask = nullptr;
    }
    ProcessedRow processed;
    RowResult outcome;
    ProcessRow(row, processed, outcome);
    if (!Succeeded("draft", static_cast<size_t>(node), outcome)) return false;
    masses = MassesOf(processed.staged, row.vocab);
    return true;
  }

  const DraftInput& draft_;
  DraftResult& result_;
  GrowingHistory history_;
  std::vector<int32_t> first_child_;   // [nodes + 1], the root's first
  std::vector<int32_t> next_sibling_;  // [nodes]
  int32_t node_ = kRoot;
  bool ended_ = false;
};

}  // namespace

void DraftResult::Clear() {
  code = RowCode::kOk;
  message.clear();
  accepted_nodes.clear();
  token_ids.clear();
}

absl::Status ValidateDraftParams(const SamplingParams& params, const ParamsLocation& location) {
  if (params.num_samples != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        location.profile, ".num_samples must be 1 to verify a draft, got ", params.num_samples));
  }
  const absl::string_view stateful = params.mirostat.has_value()      ? "mirostat"
                                     : params.adaptive_p.has_value()  ? "adaptive_p"
                                     : params.top_p_decay.has_value() ? "top_p_decay"
                                                                      : "";
  if (stateful.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(location.profile, ".", stateful,
                   " must be unset to verify a draft: its state goes from one token to the next"));
}

absl::Status VerifyDrafts(Sampler& sampler, absl::Span<const DraftInput> drafts,
                          absl::Span<DraftResult> results) {
  std::vector<Walk> walks;
  walks.reserve(drafts.size());
  for (size_t i = 0; i < drafts.size(); ++i) walks.emplace_back(drafts[i], results[i]);
  std::vector<Walk*> active;
  std::vector<RowInput> rows;
  std::vector<RowResult> sampled;
  while (true) {
    active.clear();
    rows.clear();
    for (Walk& walk : walks) {
      walk.DecideByDraftRows();
      if (walk.ended()) continue;
      active.push_back(&walk);
      rows.push_back(walk.TargetRow());
    }
    if (rows.empty()) return absl::OkStatus();
    sampled.resize(rows.size());
    absl::Status status = sampler.Sample(rows, absl::MakeSpan(sampled));
    if (!status.ok()) return status;
    for (size_t i = 0; i < active.size(); ++i) active[i]->TakeSampled(sampled[i]);
  }
}

}  // namespace token_sampler
