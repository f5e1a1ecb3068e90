// The part of Batcher that runs jobs by turns: each job has a thread of its own, to which executors
// lend slices of time.

#include <algorithm>
#include <cstddef>
#include <utility>

#include "server/batching/batcher.h"
#include "server/batching/turn.h"

namespace token_sampler {
namespace {

using std::chrono::nanoseconds;

// The most tokens in the rows that all jobs with turns hold at a time, unless there is only one
// such job: sorting a row takes 100 bytes a token and more.
constexpr int64_t kMaxTurnTokens = int64_t{1} << 25;

}  // namespace

bool Batcher::CanStartTurns(const SamplingJob& job) const {
  if (turn_takers_ == 0) return true;
  if (turn_takers_ == max_turns_) return false;
  const auto own = turn_takers_of_client_.find(job.identity.client);
  // One client gets at most half of the threads, rounded up.
  if (own != turn_takers_of_client_.end() && own->second == (max_turns_ + 1) / 2) return false;
  return turn_tokens_ + job.TokensAtOnce(rows_at_once_) <= kMaxTurnTokens;
}

void Batcher::TakeTurn(SamplingJob& job, Batch& batch) {
  const bool starts = job.turn_ == nullptr;
  if (starts) {
    job.taken = batch.began;
    if (!job.runs_alone) job.results.resize(job.rows.size());
    job.turn_ = std::make_shared<Turn>(*this, job);
    ++turn_takers_;
    ++turn_takers_of_client_[job.identity.client];
    turn_tokens_ += job.TokensAtOnce(rows_at_once_);
    batch.rows += job.rows.size();
  }
  job.turn_->began = batch.began;
  job.turn_->state = Turn::State::kRunning;
  batch.turns.push_back(queue_.Remove(job));
  if (!starts) {
    job.turn_->resumed.NotifyAll();
    return;
  }
  starting_.push_back(batch.turns.back());
  if (turn_threads_.size() < turn_takers_) {
    turn_threads_.emplace_back([this] { RunTurnThread(); });
  }
  turn_started_.NotifyOne();
}

void Batcher::LendTurns(Batch& batch) {
  MutexLock lock(mutex_);
  for (std::shared_ptr<SamplingJob>& job : batch.turns) {
    Turn& turn = *job->turn_;
    while (turn.state == Turn::State::kRunning && turn.end.ok()) turn_ended_.Wait(mutex_);
    if (stopping_) turn.resumed.NotifyAll();  // wakes it to end: it is not queued again
    if (turn.state != Turn::State::kWaiting || !turn.end.ok() || stopping_) continue;
    const auto threads = static_cast<int64_t>(std::min(job->rows.size(), rows_at_once_));
    const nanoseconds had = std::max(nanoseconds(0), nanoseconds(clock_.Now() - turn.began));
    const auto work = static_cast<uint64_t>(had.count() * threads);
    job->work_left_ -= std::min(job->work_left_, work);
    const SamplingJob& waiting = *job;
    queue_.Push(std::move(job));
    queue_.Charge(waiting, work);
  }
}

bool Batcher::GoOn(Turn& turn) {
  MutexLock lock(mutex_);
  last_progress_ = clock_.Now();
  while (turn.end.ok()) {
    turn.end = EndReason(turn.job);
    if (!turn.end.ok()) break;
    if (turn.state == Turn::State::kRunning) {
      const nanoseconds had = clock_.Now() - turn.began;
      if (!turn.yields || (had.count() >= 0 && had < options_.slice)) return true;
      if (NextJob() == nullptr) return true;
      turn.state = Turn::State::kWaiting;
      turn_ended_.NotifyAll();
    }
    turn.resumed.Wait(mutex_);
  }
  if (turn.job.line_ != nullptr && turn.job.turn_ != nullptr) queue_.Remove(turn.job);
  turn_ended_.NotifyAll();
  turn.resumed.NotifyAll();
  return false;
}

void Batcher::RunTurnThread() {
  while (true) {
    std::shared_ptr<SamplingJob> job;
    {
      MutexLock lock(mutex_);
      while (starting_.empty() && !stopping_) turn_started_.Wait(mutex_);
      if (starting_.empty()) return;
      job = std::move(starting_.front());
      starting_.pop_front();
    }
    absl::Status status = SampleByTurns(*job);
    {
      MutexLock lock(mutex_);
      // A computation that was told to end may report other errors: they only follow from that.
      if (!job->turn_->end.ok()) status = job->turn_->end;
      job->turn_->state = Turn::State::kOver;
      last_progress_ = clock_.Now();
    }
    turn_ended_.NotifyAll();
    // A large answer keeps nobody waiting, but occupies this thread until it is written, which
    // bounds how many are written at a time.
    job->Done(status);
    {
      MutexLock lock(mutex_);
      --turn_takers_;
      turn_tokens_ -= job->TokensAtOnce(rows_at_once_);
      const auto of_client = turn_takers_of_client_.find(job->identity.client);
      if (--of_client->second == 0) turn_takers_of_client_.erase(of_client);
      queue_.ResumeAll();
    }
    job_added_.NotifyAll();
  }
}

absl::Status Batcher::SampleByTurns(SamplingJob& job) {
  Turn& turn = *job.turn_;
  for (RowInput& row : job.rows) row.pace = &turn;
  if (!turn.GoOn()) return absl::OkStatus();
  if (job.runs_alone) {
    EndableSampler endable(sampler_, turn);
    return job.Run(endable);
  }
  // Sample as many rows at a time as there are threads, or more if they are short.
  const uint64_t slice = static_cast<uint64_t>(options_.slice.count()) * rows_at_once_ / 2;
  const absl::Span<const RowInput> rows = job.rows;
  size_t first = 0;
  while (first < rows.size()) {
    uint64_t work = 0;
    size_t count = 0;
    for (; first + count < rows.size(); ++count) {
      work += static_cast<uint64_t>(static_cast<double>(job.row_work_[first + count]) *
                                    job.worst_case_);
      if (count >= rows_at_once_ && work > slice) break;
    }
    absl::Status status = sampler_.Sample(rows.subspan(first, count),
                                          absl::MakeSpan(job.results).subspan(first, count));
    if (!status.ok() || !turn.GoOn()) return status;
    first += count;
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
