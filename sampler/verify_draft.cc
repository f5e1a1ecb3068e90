#include "sampler/verify_draft.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <limits>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/rows/paced.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

constexpr int32_t kRoot = -1;
constexpr int32_t kNone = -1;
constexpr int kResidualBits = 62;

// Sequences are verified together until their rows have this many values. This bounds the memory
// for weights.
constexpr int64_t kMaxValuesAtOnce = int64_t{1} << 24;

constexpr OutputOptions kWeights = {.logprob_mode = LogprobMode::kProcessed, .weights = true};

// A distribution in which ids[i] has the probability weights[i] / total.
struct Masses {
  std::vector<uint32_t> ids;  // ascending
  std::vector<uint64_t> weights;
  uint64_t total = 0;  // > 0
};

// Moves the weights out of the result of a row that was sampled with kWeights.
Masses TakeMasses(RowResult& sampled, Pace* pace) {
  Masses masses = {std::move(sampled.weighed_ids), std::move(sampled.weights)};
  ForEachPaced(pace, masses.weights.size(), [&](size_t i) { masses.total += masses.weights[i]; });
  return masses;
}

uint64_t WeightOf(uint32_t id, const Masses& masses) {
  const auto found = std::lower_bound(masses.ids.begin(), masses.ids.end(), id);
  if (found == masses.ids.end() || *found != id) return 0;
  return masses.weights[static_cast<size_t>(found - masses.ids.begin())];
}

// True if token `id`, drawn from `draft`, is accepted: with probability min(1, target / draft).
bool Accepts(Uint128 uniform, const Masses& target, const Masses& draft, uint32_t id) {
  return ScaleUniformWide(uniform, Uint128{WeightOf(id, draft)} * target.total) <
         Uint128{WeightOf(id, target)} * draft.total;
}

// Calls visit(i, residual) for each target.ids[i] with the mass that remains after a token of
// `draft` was rejected: max(0, target - draft).
template <typename Visitor>
void ForEachResidual(const Masses& draft, const Masses& target, Pace* pace, Visitor visit) {
  size_t at = 0;
  ForEachPaced(pace, target.ids.size(), [&](size_t i) {
    while (at < draft.ids.size() && draft.ids[at] < target.ids[i]) {
      if (++at % kPieceItems == 0) Ask(pace);
    }
    const bool drafted = at < draft.ids.size() && draft.ids[at] == target.ids[i];
    const Uint128 kept = Uint128{target.weights[i]} * draft.total;
    const Uint128 taken = Uint128{drafted ? draft.weights[at] : 0} * target.total;
    visit(i, kept > taken ? kept - taken : Uint128{0});
  });
}

// Replaces `target` by its residual. Its total stays above 0: the draft exceeds the target at the
// rejected token, so the target exceeds the draft elsewhere.
void LeaveResidual(const Masses& draft, Masses& target, Pace* pace) {
  Uint128 sum = 0;
  ForEachResidual(draft, target, pace, [&](size_t, Uint128 residual) { sum += residual; });
  int shift = 0;
  while (sum >> shift >> kResidualBits != 0) ++shift;
  uint64_t total = 0;
  ForEachResidual(draft, target, pace, [&](size_t i, Uint128 residual) {
    target.weights[i] = static_cast<uint64_t>(residual >> shift);
    total += target.weights[i];
  });
  target.total = total;
}

// Returns the first token, by id, at which the running sum of weights exceeds the scaled uniform.
uint32_t DrawFrom(const Masses& masses, Uint128 uniform, Pace* pace) {
  const uint64_t target = ScaleUniform(uniform, masses.total);
  size_t i = 0;
  for (uint64_t mass = masses.weights[0]; mass <= target; mass += masses.weights[i]) {
    if (++i % kPieceItems == 0) Ask(pace);
  }
  return masses.ids[i];
}

// The history of a sequence, to which accepted tokens are added.
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

// Follows one sequence from the root along accepted nodes, until it draws a token that was not
// drafted or a row fails. It needs one row at a time.
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

  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  bool ended() const { return ended_; }

  // Returns the row to sample next: the target row of the current node, then the draft rows of its
  // children, one by one, until one is accepted. Valid until Take.
  RowInput NextRow() {
    RowInput row = draft_.target[RowOf(node_)];
    row.params = draft_.params;
    row.key = Key();
    row.history = history_.Get();
    row.state = nullptr;
    row.outputs = DraftRowsDecide() ? &kWeights : nullptr;
    if (tried_ == kNone) return row;
    const RowInput& drafted = draft_.draft[static_cast<size_t>(tried_)];
    row.values = drafted.values;
    row.source = drafted.source;
    row.source_offset = drafted.source_offset;
    row.dtype = drafted.dtype;
    row.kind = drafted.kind;
    if (row.kind == InputKind::kWeights) {
      row.params = &no_params_;
      row.history = nullptr;
      row.bitmask = nullptr;
    }
    return row;
  }

  // Takes the result of NextRow.
  void Take(RowResult& sampled) {
    RunPaced([&] { TakeSampled(sampled); }, [this] { Interrupt(); });
  }

  Pace* pace() const { return draft_.target[RowOf(node_)].pace; }

 private:
  void Interrupt() {
    result_.Clear();
    result_.code = RowCode::kInvalidInput;
    result_.message = "interrupted";
    ended_ = true;
  }

  void TakeSampled(RowResult& sampled) {
    if (tried_ != kNone) {
      if (Succeeded("draft", static_cast<size_t>(tried_), sampled)) {
        Try(TakeMasses(sampled, pace()));
      }
    } else if (Succeeded("target", RowOf(node_), sampled)) {
      if (!DraftRowsDecide() || sampled.greedy) return TakeOwn(sampled.token_ids[0]);
      target_ = TakeMasses(sampled, pace());
      tried_ = ChildOf(node_);
      try_index_ = 0;
    }
  }

  // Returns the index of a node's row in `target`; that of the root is 0.
  static size_t RowOf(int32_t node) { return static_cast<size_t>(node) + 1; }

  int32_t& ChildOf(int32_t node) { return first_child_[RowOf(node)]; }

  bool DraftRowsDecide() { return !draft_.draft.empty() && ChildOf(node_) != kNone; }

  RowKey Key() const {
    RowKey key = draft_.key;
    key.step += result_.accepted_nodes.size();
    return key;
  }

  // Records a row's code in the result. False if it makes the sequence fail.
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
    tried_ = kNone;
    const uint32_t id = draft_.token_ids[static_cast<size_t>(node)];
    history_.Add(id);
    result_.accepted_nodes.push_back(static_cast<uint32_t>(node));
    result_.token_ids.push_back(id);
  }

  void End(uint32_t id) {
    result_.token_ids.push_back(id);
    ended_ = true;
  }

  // Accepts the first child with the token `id`, drawn from the target; if there is none, ends with
  // `id`.
  void TakeOwn(uint32_t id) {
    int32_t child = ChildOf(node_);
    while (child != kNone && draft_.token_ids[static_cast<size_t>(child)] != id) {
      child = next_sibling_[static_cast<size_t>(child)];
    }
    child != kNone ? Accept(child) : End(id);
  }

  // Accepts the child on trial, or rejects it: then the next child is tried against the rest of the
  // target. After the last child, draws a token from that rest.
  void Try(const Masses& drafted) {
    const uint32_t id = draft_.token_ids[static_cast<size_t>(tried_)];
    // A token of weight 0 in its own row was not drawn from it, so its rejection leaves the target
    // as it is.
    if (WeightOf(id, drafted) > 0) {
      const Uint128 uniform = UniformBits(Key(), RandomDomain::kDraftAccept, try_index_);
      if (Accepts(uniform, target_, drafted, id)) return Accept(tried_);
      LeaveResidual(drafted, target_, pace());
    }
    tried_ = next_sibling_[static_cast<size_t>(tried_)];
    ++try_index_;
    if (tried_ == kNone) {
      End(DrawFrom(target_, UniformBits(Key(), RandomDomain::kDraftResidual, 0), pace()));
    }
  }

  const DraftInput& draft_;
  DraftResult& result_;
  const SamplingParams no_params_;  // for draft rows that are probabilities already
  GrowingHistory history_;
  std::vector<int32_t> first_child_;   // [nodes + 1], the root's first
  std::vector<int32_t> next_sibling_;  // [nodes]
  int32_t node_ = kRoot;

  // Used if draft rows decide: the child on trial (kNone until the node's target row was sampled),
  // the number of siblings tried before it, and the rest of the target after their rejection.
  int32_t tried_ = kNone;
  uint32_t try_index_ = 0;
  Masses target_;

  bool ended_ = false;
};

// Verifies all sequences together: each call of the sampler gets one row of each unfinished one.
absl::Status VerifyTogether(Sampler& sampler, absl::Span<const DraftInput> drafts,
                            absl::Span<DraftResult> results) {
  std::deque<Walk> walks;
  for (size_t i = 0; i < drafts.size(); ++i) walks.emplace_back(drafts[i], results[i]);
  std::vector<Walk*> active;
  std::vector<RowInput> rows;
  std::vector<RowResult> sampled;
  while (true) {
    active.clear();
    rows.clear();
    for (Walk& walk : walks) {
      if (walk.ended()) continue;
      active.push_back(&walk);
      rows.push_back(walk.NextRow());
    }
    if (rows.empty()) return absl::OkStatus();
    sampled.resize(rows.size());
    RETURN_IF_ERROR(sampler.Sample(rows, absl::MakeSpan(sampled)));
    for (size_t i = 0; i < active.size(); ++i) active[i]->Take(sampled[i]);
  }
}

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
  if (!params.stateful()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(location.profile, ".", params.state_param(),
                   " must be unset to verify a draft: its state goes from one token to the next"));
}

absl::Status VerifyDrafts(Sampler& sampler, absl::Span<const DraftInput> drafts,
                          absl::Span<DraftResult> results) {
  size_t first = 0;
  while (first < drafts.size()) {
    size_t count = 0;
    int64_t values = 0;
    while (first + count < drafts.size() && (count == 0 || values < kMaxValuesAtOnce)) {
      values += drafts[first + count].target[0].vocab;
      ++count;
    }
    RETURN_IF_ERROR(
        VerifyTogether(sampler, drafts.subspan(first, count), results.subspan(first, count)));
    first += count;
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
