#include "server/sequences/sequence_table.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/paced.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/params_codec.h"

namespace token_sampler {
namespace {

// Bytes that a sequence takes in the table, besides the sequence itself.
constexpr uint64_t kEntryBytes = 64;

}  // namespace

absl::StatusOr<SequenceTable::Profiles> SequenceTable::MakeProfiles(
    const v1::OpenSequences& message) {
  Profiles profiles;
  do {
    const auto index = static_cast<int>(profiles.size());
    auto profile = std::make_shared<SequenceProfile>(ledger_);
    profile->name = absl::StrCat("open.params[", index, "]");
    profile->vocab = message.vocab();
    if (message.params_size() > 0) {
      const v1::SamplingParams& params = message.params(index);
      // The message takes at least as much memory as the parameters.
      RETURN_IF_ERROR(profile->memory.Grow(sizeof(SequenceProfile) + params.SpaceUsedLong()));
      RETURN_IF_ERROR(DecodeParams(params, index, profile->params));
    }
    // Parameters valid for logits are valid for weights, except the temperature.
    RETURN_IF_ERROR(profile->Check(InputKind::kLogits));
    if (profile->params.num_samples != 1) {
      return Invalid(profile->name, ".num_samples must be 1, got ", profile->params.num_samples,
                     "; fork the sequence instead");
    }
    if (RepetitionRules::Apply(profile->params)) {
      RETURN_IF_ERROR(profile->memory.Grow(RepetitionRules::BytesFor(profile->params)));
      profile->repetition_rules.emplace(profile->params, profile->vocab);
    }
    profiles.push_back(std::move(profile));
  } while (static_cast<int>(profiles.size()) < message.params_size());
  return profiles;
}

absl::StatusOr<std::shared_ptr<SequencePrompt>> SequenceTable::MakePrompt(
    const google::protobuf::RepeatedField<uint32_t>& ids, const SequenceProfile& profile,
    Pace* pace) {
  auto prompt = std::make_shared<SequencePrompt>(ledger_);
  const auto tokens = static_cast<size_t>(ids.size());
  RETURN_IF_ERROR(prompt->memory.Grow(kEntryBytes + tokens * sizeof(uint32_t)));
  AppendIds(ids, pace, prompt->ids);
  if (profile.KeepsCounts()) {
    RETURN_IF_ERROR(FindDifferent(prompt->ids, pace, prompt->memory, prompt->set));
    RETURN_IF_ERROR(prompt->memory.Grow(prompt->set.size() * sizeof(uint32_t)));
  }
  if (!profile.repetition_rules.has_value()) return prompt;
  RepetitionIndex& index = prompt->index.emplace(&*profile.repetition_rules, nullptr);
  RETURN_IF_ERROR(prompt->memory.Grow(index.BytesFor(tokens)));
  if (tokens == 0) return prompt;
  const HistoryIds history(prompt->ids, {});
  index.Reserve(tokens, history, pace);
  index.AppendAll(history, pace);
  return prompt;
}

absl::StatusOr<std::unique_ptr<Sequence>> SequenceTable::MakeSequence(
    const v1::OpenSequences::Sequence& message, const std::string& name, uint64_t seed,
    bool skip_unknown_ids, const Profiles& profiles, Pace* pace) {
  if (message.params() >= profiles.size()) {
    return Invalid(name, ".params must be an index into params, of which there are ",
                   profiles.size(), ", got ", message.params());
  }
  Sequence::Start start;
  start.profile = profiles[message.params()];
  const int64_t vocab = start.profile->vocab;
  if (!skip_unknown_ids) {
    RETURN_IF_ERROR(CheckIds(name + ".prompt_ids", message.prompt_ids(), vocab, pace));
    RETURN_IF_ERROR(CheckIds(name + ".output_ids", message.output_ids(), vocab, pace));
  }
  const auto prompt_tokens = static_cast<uint64_t>(message.prompt_ids_size());
  const auto output_tokens = static_cast<uint64_t>(message.output_ids_size());
  if (prompt_tokens + output_tokens > limits_.max_tokens) {
    return Invalid(name, " must have at most ", Counted(limits_.max_tokens, "token"), ", got ",
                   prompt_tokens + output_tokens);
  }
  ASSIGN_OR_RETURN(start.prompt, MakePrompt(message.prompt_ids(), *start.profile, pace));
  AppendIds(message.output_ids(), pace, start.output_ids);
  start.key.seed = seed;
  start.key.stream = message.stream();
  start.key.step = message.has_step() ? message.step() : output_tokens;
  start.state = DecodeState(message.state());
  start.skip_unknown_ids = skip_unknown_ids;
  return Sequence::Create(std::move(start), limits_, ledger_, pace);
}

absl::Status SequenceTable::CheckNew(uint64_t id) const {
  if (sequences_.count(id) == 0) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("sequence ", id, " is open already"));
}

uint32_t SequenceTable::FreeStream(uint64_t seed) const {
  uint32_t highest = 0;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->key().seed == seed) highest = std::max(highest, sequence->key().stream);
  }
  return highest + 1;
}

absl::Status SequenceTable::Open(const v1::OpenSequences& message, Pace* pace,
                                 v1::SampleStreamResponse& answer) {
  if (message.vocab() < 1 || message.vocab() > call_context_.limits.max_vocab) {
    return Invalid("open.vocab must be in [1, ", call_context_.limits.max_vocab, "], got ",
                   message.vocab());
  }
  if (message.sequences().empty()) return Invalid("open.sequences must have at least one entry");
  ASSIGN_OR_RETURN(Profiles profiles, MakeProfiles(message));
  ASSIGN_OR_RETURN(const std::vector<RowKey> keys,
                   DecodeKeys({}, {"sequence", static_cast<size_t>(message.sequences_size())}));
  v1::SampleStreamResponse taken;
  Sequences opened;
  for (int i = 0; i < message.sequences_size(); ++i) {
    if (i > 0) Ask(pace);
    const v1::OpenSequences::Sequence& sequence = message.sequences(i);
    const std::string name = absl::StrCat("open.sequences[", i, "]");
    const uint64_t id = sequence.sequence_id();
    if (!sequence.has_sequence_id()) return Invalid(name, ".sequence_id must be set");
    RETURN_IF_ERROR(CheckNew(id));
    const uint64_t seed = sequence.has_seed() ? sequence.seed() : keys[static_cast<size_t>(i)].seed;
    ASSIGN_OR_RETURN(
        std::unique_ptr<Sequence> made,
        MakeSequence(sequence, name, seed, message.skip_unknown_ids(), profiles, pace));
    taken.add_seeds(seed);
    if (message.skip_unknown_ids()) {
      taken.add_skipped_ids(CountUnknownIds(
          {.prompt_ids = sequence.prompt_ids(), .output_ids = sequence.output_ids()},
          message.vocab()));
    }
    if (!opened.emplace(id, std::move(made)).second) {
      return absl::AlreadyExistsError(absl::StrCat(name, " opens sequence ", id, " again"));
    }
  }
  sequences_.merge(opened);
  answer.MergeFrom(taken);
  return absl::OkStatus();
}

uint64_t SequenceTable::ForkWork(const v1::ForkSequence& message) const {
  const absl::StatusOr<Sequence*> parent = Find(message.sequence_id());
  return parent.ok() ? (*parent)->output_tokens() * kTokenWork : 0;
}

absl::Status SequenceTable::Fork(const v1::ForkSequence& message, Pace* pace) {
  ASSIGN_OR_RETURN(Sequence* const parent, Find(message.sequence_id()));
  if (!message.has_new_sequence_id()) return Invalid("fork.new_sequence_id must be set");
  RETURN_IF_ERROR(CheckNew(message.new_sequence_id()));
  const uint32_t stream =
      message.has_new_stream() ? message.new_stream() : FreeStream(parent->key().seed);
  ASSIGN_OR_RETURN(std::unique_ptr<Sequence> fork, parent->Fork(stream, ledger_, pace));
  sequences_.emplace(message.new_sequence_id(), std::move(fork));
  return absl::OkStatus();
}

uint64_t SequenceTable::RollbackWork(const v1::RollbackSequence& message) const {
  const absl::StatusOr<Sequence*> sequence = Find(message.sequence_id());
  if (!sequence.ok()) return 0;
  return std::min<uint64_t>((*sequence)->output_tokens(), message.num_tokens()) * kTokenWork;
}

absl::Status SequenceTable::Rollback(const v1::RollbackSequence& message, Pace* pace) {
  ASSIGN_OR_RETURN(Sequence* const sequence, Find(message.sequence_id()));
  return sequence->Rollback(message.num_tokens(), pace);
}

absl::Status SequenceTable::Close(const v1::CloseSequences& message) {
  for (const uint64_t id : message.sequence_ids()) {
    RETURN_IF_ERROR(Find(id).status());
  }
  for (const uint64_t id : message.sequence_ids()) sequences_.erase(id);
  return absl::OkStatus();
}

absl::StatusOr<Sequence*> SequenceTable::Find(uint64_t id) const {
  const auto found = sequences_.find(id);
  if (found != sequences_.end()) return found->second.get();
  return absl::NotFoundError(absl::StrCat("sequence ", id, " is not open"));
}

}  // namespace token_sampler
