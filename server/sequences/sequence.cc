#include "server/sequences/sequence.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

// Capacity that the first token reserves.
constexpr size_t kLeastTokens = 32;

}  // namespace

absl::Status FindDifferent(absl::Span<const uint32_t> ids, Pace* pace, MemoryGrant& memory,
                           std::vector<uint32_t>& different) {
  const uint64_t before = memory.bytes();
  // The copy, and as much again to sort it.
  RETURN_IF_ERROR(memory.Grow(ids.size() * 2 * sizeof(uint32_t)));
  AppendIds(ids, pace, different);
  {
    LargeVector<uint32_t> scratch;
    SortByKey(
        pace, different.data(), different.size(), [](uint32_t id) { return id; }, scratch);
  }
  size_t kept = 0;
  ForEachPaced(pace, different.size(), [&](size_t i) {
    const bool is_new = kept == 0 || different[i] != different[kept - 1];
    different[kept] = different[i];
    kept += is_new ? 1 : 0;
  });
  different.resize(kept);
  different.shrink_to_fit();
  memory.ShrinkTo(before);
  return absl::OkStatus();
}

void AppendIds(absl::Span<const uint32_t> from, Pace* pace, std::vector<uint32_t>& ids) {
  ids.reserve(ids.size() + from.size());
  InPieces(pace, from.size(), kPieceItems * 8, [&](size_t begin, size_t end) {
    ids.insert(ids.end(), from.data() + begin, from.data() + end);
  });
}

const absl::Status& SequenceProfile::Check(InputKind kind) {
  std::optional<absl::Status>& status = checked[static_cast<size_t>(kind)];
  if (!status.has_value()) status = ValidateParams(params, kind, vocab, {.profile = name});
  return *status;
}

bool SequenceProfile::KeepsCounts() const {
  return CountsSuffice(params) || (repetition_rules.has_value() && CountsBesideIndex(params));
}

absl::StatusOr<std::unique_ptr<Sequence>> Sequence::Create(Start start,
                                                           const SequenceLimits& limits,
                                                           Ledger* ledger, Pace* pace) {
  const bool stateful = start.profile->params.stateful();
  const uint64_t bytes = sizeof(Sequence) + start.output_ids.capacity() * sizeof(uint32_t) +
                         (stateful ? kMaxStatefulRollback * sizeof(RowState) : 0);
  std::unique_ptr<Sequence> sequence(new Sequence(std::move(start), limits, ledger));
  RETURN_IF_ERROR(sequence->memory_.Grow(bytes));
  RETURN_IF_ERROR(sequence->IndexOutput(pace));
  RETURN_IF_ERROR(sequence->CountOutput(pace));
  return sequence;
}

absl::Status Sequence::IndexOutput(Pace* pace) {
  const std::optional<RepetitionIndex>& of_prompt = start_.prompt->index;
  if (!of_prompt.has_value()) return absl::OkStatus();
  index_.emplace(&of_prompt->rules(), &*of_prompt);
  const std::vector<uint32_t>& output = start_.output_ids;
  if (output.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(memory_.Grow(index_->BytesFor(output.capacity())));
  index_->Reserve(output.capacity(), ids(), pace);
  index_->AppendAll(ids(), pace);
  return absl::OkStatus();
}

absl::Status Sequence::CountOutput(Pace* pace) {
  if (!profile().KeepsCounts()) return absl::OkStatus();
  const std::vector<uint32_t>& output = start_.output_ids;
  if (output.size() > kScatteredItems) {
    // Reserve all at once: a hash table that grows moves all its entries, in one piece.
    std::vector<uint32_t> different;
    RETURN_IF_ERROR(FindDifferent(output, pace, memory_, different));
    RETURN_IF_ERROR(ReserveCounts(different.size()));
  }
  absl::Status status;
  ForEachScattered(pace, output.size(), [&](size_t i) {
    if (status.ok()) status = ReserveCounts(counts_.ids().size() + 1);
    if (status.ok()) counts_.Add(output[i]);
  });
  return status;
}

absl::Status Sequence::ReserveToken() {
  std::vector<uint32_t>& output = start_.output_ids;
  const uint64_t tokens = ids().size();
  if (tokens >= limits_.max_tokens) {
    return absl::ResourceExhaustedError(
        absl::StrCat("it has ", Counted(tokens, "token"), ", the limit (--max-sequence-tokens)"));
  }
  if (profile().KeepsCounts()) {
    RETURN_IF_ERROR(ReserveCounts(counts_.ids().size() + 1));
  }
  if (output.size() < output.capacity()) return absl::OkStatus();
  const size_t capacity = std::max(kLeastTokens, 2 * output.capacity());
  uint64_t bytes = (capacity - output.capacity()) * sizeof(uint32_t);
  if (index_.has_value()) bytes += index_->BytesFor(capacity) - index_->BytesFor(output.capacity());
  RETURN_IF_ERROR(memory_.Grow(bytes));
  output.reserve(capacity);
  if (index_.has_value()) index_->Reserve(capacity, ids());
  return absl::OkStatus();
}

absl::Status Sequence::ReserveCounts(size_t count) {
  const size_t before = counts_.capacity();
  if (count <= before) return absl::OkStatus();
  size_t capacity = std::max(kLeastTokens, before);
  while (capacity < count) capacity *= 2;
  RETURN_IF_ERROR(memory_.Grow((capacity - before) * TokenCounts::kBytesPerToken));
  counts_.Reserve(capacity);
  return absl::OkStatus();
}

void Sequence::FillRow(RowInput& row) {
  history_.skip_unknown_ids = start_.skip_unknown_ids;
  const bool keeps_counts = profile().KeepsCounts();
  if (keeps_counts) {
    history_.prompt_set = start_.prompt->set;
    history_.output_count_ids = counts_.ids();
    history_.output_counts = counts_.counts();
  }
  if (index_.has_value()) history_.index = &*index_;
  if (index_.has_value() || !keeps_counts) {
    history_.prompt_ids = start_.prompt->ids;
    history_.output_ids = start_.output_ids;
  }
  row.params = &start_.profile->params;
  row.key = start_.key;
  row.history = &history_;
  row.state = &start_.state;
}

void Sequence::Append(const RowResult& result) {
  if (start_.profile->params.stateful()) {
    if (earlier_states_.size() == kMaxStatefulRollback) {
      earlier_states_.erase(earlier_states_.begin());
    }
    earlier_states_.push_back(std::exchange(start_.state, result.state));
  }
  start_.output_ids.push_back(result.token_ids[0]);
  if (profile().KeepsCounts()) counts_.Add(result.token_ids[0]);
  if (index_.has_value()) index_->Append(ids());
  ++start_.key.step;
}

bool Sequence::Finished() const {
  const std::vector<uint32_t>& stop_ids = start_.profile->params.stop_ids;
  return !start_.output_ids.empty() &&
         std::find(stop_ids.begin(), stop_ids.end(), start_.output_ids.back()) != stop_ids.end();
}

size_t Sequence::MaxRollback() const {
  if (start_.profile->params.stateful()) return earlier_states_.size();
  return std::min<uint64_t>(start_.output_ids.size(), start_.key.step);
}

absl::Status Sequence::Rollback(uint32_t num_tokens, Pace* pace) {
  if (MaxRollback() == 0) {
    return absl::OutOfRangeError(
        absl::StrCat("rollback.num_tokens: nothing can be taken back, got ", num_tokens));
  }
  if (num_tokens < 1 || num_tokens > MaxRollback()) {
    return absl::OutOfRangeError(
        absl::StrCat("rollback.num_tokens must be in [1, ", MaxRollback(), "], got ", num_tokens));
  }
  // The sequence is consistent after each piece.
  InPieces(pace, num_tokens, kScatteredItems, [&](size_t begin, size_t end) {
    if (index_.has_value()) index_->RemoveNewest(ids(), end - begin);
    for (size_t i = begin; i < end; ++i) {
      if (profile().KeepsCounts()) counts_.Remove(start_.output_ids.back());
      start_.output_ids.pop_back();
    }
    start_.key.step -= end - begin;
  });
  if (!earlier_states_.empty()) {
    const auto first = earlier_states_.end() - static_cast<std::ptrdiff_t>(num_tokens);
    start_.state = *first;
    earlier_states_.erase(first, earlier_states_.end());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Sequence>> Sequence::Fork(uint32_t stream, Ledger* ledger,
                                                         Pace* pace) const {
  Start start = start_;
  start.output_ids = {};
  AppendIds(start_.output_ids, pace, start.output_ids);
  absl::StatusOr<std::unique_ptr<Sequence>> fork = Create(std::move(start), limits_, ledger, pace);
  if (!fork.ok()) return fork;
  (*fork)->start_.key.stream = stream;
  (*fork)->earlier_states_ = earlier_states_;
  return fork;
}

}  // namespace token_sampler
