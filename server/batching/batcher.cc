#include "server/batching/batcher.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batching/turn.h"
#include "server/batching/work_estimate.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr char kStopped[] = "the server is shutting down";
constexpr char kExpired[] = "the deadline passed before the rows were sampled";
constexpr char kMadeRoom[] =
    "the queue is full, and the call gave its place to a caller that holds less of it";

// Bounds of the time after which refused callers should come again.
constexpr milliseconds kSoonest(5);
constexpr milliseconds kLatest(5000);

// Refused callers are told to come back one place (the time of one job) after the other. Callers
// who were answered call again meanwhile. While these keep the queue from emptying, refused callers
// mostly find it full again, so they are spread further and further apart, up to this many places
// for each.
constexpr double kMostPlaces = 4;
constexpr std::chrono::duration<double> kPlaceMore = milliseconds(100);

// Submit refuses a job that would miss its deadline if the wait for others took this many times the
// estimate. With estimates a little too low, a full queue grows until all that is sampled comes too
// late (tests/bench/queue_policies.py).
constexpr int kWaitMargin = 2;

// An answer of this many values takes a slice to write and to send.
constexpr uint64_t kLargeAnswer = uint64_t{1} << 16;

// The limit, or the largest number if it is 0, which stands for no limit.
uint64_t OrAny(uint64_t limit) { return limit > 0 ? limit : std::numeric_limits<uint64_t>::max(); }

nanoseconds ToTime(double time) { return nanoseconds(static_cast<int64_t>(std::min(time, 1e18))); }

// Estimates the job's work, unless the caller has set it.
void EstimateWork(SamplingJob& job, absl::InlinedVector<uint64_t, 1>& row_work,
                  double& worst_case) {
  if (job.work > 0) return;
  WorkEstimator estimator;
  row_work.reserve(job.rows.size());
  for (const RowInput& row : job.rows) {
    const uint64_t work = estimator.OfRow(row);
    row_work.push_back(work);
    job.work += work;
    worst_case = std::max(
        worst_case, static_cast<double>(estimator.OfRepairedRow(row)) / static_cast<double>(work));
  }
}

}  // namespace

absl::Status SamplingJob::Run(Sampler& sampler) {
  results.resize(rows.size());
  return sampler.Sample(rows, absl::MakeSpan(results));
}

int64_t SamplingJob::TokensAtOnce(size_t rows_at_once) const {
  int64_t longest = 0;
  for (const RowInput& row : rows) longest = std::max(longest, row.vocab);
  return longest * static_cast<int64_t>(std::min(rows.size(), rows_at_once));
}

Batcher::Batcher(Sampler& sampler, const BatcherOptions& options, const Clock& clock)
    : sampler_(sampler),
      options_(options),
      clock_(clock),
      num_executors_(static_cast<size_t>(options.num_executors > 0 ? options.num_executors
                                                                   : sampler.parallel_calls())),
      rows_at_once_(static_cast<size_t>(sampler.rows_at_once())),
      max_turns_(rows_at_once_ + 3),
      queue_bound_{"the queue", options.max_queued_rows, options.max_queued_bytes},
      client_bound_{"the client's part of the queue", OrAny(options.max_queued_rows_per_client),
                    OrAny(options.max_queued_bytes_per_client)},
      queue_(options.client_weights),
      last_idle_(clock.Now()) {
  for (size_t i = 0; i < num_executors_; ++i) {
    executors_.emplace_back([this] { RunExecutor(); });
  }
}

Batcher::~Batcher() { Stop(); }

// ---- The queue ----

absl::Status Batcher::Submit(std::shared_ptr<SamplingJob> job) {
  if (job->row_work_.empty()) {
    EstimateWork(*job, job->row_work_, job->worst_case_);
    job->work_left_ = job->work;
  }
  uint64_t longest = job->work;
  if (!job->runs_alone && !job->row_work_.empty()) {
    longest = *std::max_element(job->row_work_.begin(), job->row_work_.end());
  }
  uint64_t values = 0;
  for (const RowInput& row : job->rows) values += job->runs_alone ? 0 : MostValues(row);
  Jobs pushed_out;
  Batch here;
  absl::Status status;
  {
    MutexLock lock(mutex_);
    if (stopping_) return absl::UnavailableError(kStopped);
    if (job->cancelled_) return CallerGone();
    job->takes_turns_ =
        values > kLargeAnswer || static_cast<double>(longest) * job->worst_case_ * speed_.factor() >
                                     static_cast<double>(options_.slice.count());
    const uint64_t rows = job->rows.size();
    const FairQueue::Load& load = queue_.load();
    const TimePoint now = clock_.Now();
    if (load.jobs > 0 && job->deadline != TimePoint::max()) {
      const nanoseconds wait =
          TimeOf(queue_.WorkUntilDone(job->identity, job->takes_turns_, job->work));
      const nanoseconds of_others = wait - std::min(wait, TimeOf(job->work));
      if (wait + (kWaitMargin - 1) * of_others > job->deadline - now) {
        ++counters_.refused;
        job->retry_after = PromiseRoom(job->work);
        return absl::ResourceExhaustedError(absl::StrCat(
            "the queue is too long: the call would take about ",
            std::chrono::duration_cast<milliseconds>(wait).count(), " ms, and its deadline is in ",
            std::chrono::duration_cast<milliseconds>(job->deadline - now).count(), " ms"));
      }
    }
    const FairQueue::Load own = queue_.LoadOf(job->identity.client);
    if (own.jobs > 0 && !client_bound_.Has(own, rows, job->bytes)) {
      return RefuseFull(client_bound_, own, rows, job->bytes, job->work, job->retry_after);
    }
    while (load.jobs > 0 && !queue_bound_.Has(load, rows, job->bytes)) {
      SamplingJob* const victim = queue_.MostHeld(
          job->identity, rows, job->bytes, options_.max_queued_rows, options_.max_queued_bytes);
      if (victim == nullptr) {
        status = RefuseFull(queue_bound_, load, rows, job->bytes, job->work, job->retry_after);
        break;
      }
      victim->retry_after = PromiseRoom(victim->work);
      Drop(*victim, absl::ResourceExhaustedError(kMadeRoom), pushed_out);
    }
    if (status.ok() && StaysHere(*job)) {
      here.began = now;
      job->next_row_ = rows;
      const uint64_t work = std::exchange(job->work_left_, 0);
      HandOut({std::move(job), 0, rows}, work, here);
      ++submitters_sampling_;
      ++counters_.batches;
      counters_.rows += rows;
      last_progress_ = last_idle_ = now;
    } else if (status.ok()) {
      if (load.jobs == 0) last_progress_ = now;
      queue_.Push(std::move(job));
    }
  }
  if (!here.pieces.empty()) {
    Sample(here);
    MutexLock lock(mutex_);
    --submitters_sampling_;
    if (stopping_) submitter_done_.NotifyAll();
  } else if (status.ok()) {
    job_added_.NotifyOne();
  }
  for (const auto& victim : pushed_out) victim->Done(absl::ResourceExhaustedError(kMadeRoom));
  return status;
}

bool Batcher::StaysHere(const SamplingJob& job) const {
  if (!sampler_.samples_on_calling_thread() || job.takes_turns_ || job.runs_alone) return false;
  if (queue_.load().jobs > 0 || executors_sampling_ > 0) return false;
  if (submitters_sampling_ >= rows_at_once_ || job.deadline < clock_.Now()) return false;
  return ToTime(static_cast<double>(job.work) * job.worst_case_ * speed_.factor()) <=
         options_.sampled_by_submitter;
}

absl::Status Batcher::CheckRoom(const CallIdentity& identity, milliseconds& retry_after) {
  MutexLock lock(mutex_);
  const FairQueue::Load& load = queue_.load();
  if (load.jobs == 0) return absl::OkStatus();
  // The caller's work is not known yet: assume the average of the waiting jobs.
  const uint64_t work = load.work / load.jobs;
  const FairQueue::Load own = queue_.LoadOf(identity.client);
  if (own.jobs > 0 && !client_bound_.Has(own, 1, 1)) {
    return RefuseFull(client_bound_, own, 1, 1, work, retry_after);
  }
  if (queue_bound_.Has(load, 1, 1) ||
      queue_.MostHeld(identity, 1, 1, options_.max_queued_rows, options_.max_queued_bytes)) {
    return absl::OkStatus();
  }
  return RefuseFull(queue_bound_, load, 1, 1, work, retry_after);
}

absl::Status Batcher::RefuseFull(const Bound& bound, const FairQueue::Load& load, uint64_t rows,
                                 uint64_t bytes, uint64_t work, milliseconds& retry_after) {
  ++counters_.refused;
  retry_after = PromiseRoom(work);
  const bool by_rows = load.rows + rows > bound.rows;
  return absl::ResourceExhaustedError(
      absl::StrCat(bound.what, " is full: with this call it would hold ",
                   by_rows ? load.rows + rows : load.bytes + bytes, " of at most ",
                   by_rows ? bound.rows : bound.bytes, by_rows ? " rows" : " bytes"));
}

nanoseconds Batcher::TimeOf(uint64_t work) const {
  const double threads = static_cast<double>(rows_at_once_ * num_executors_);
  return ToTime(static_cast<double>(work) * speed_.factor() / threads);
}

milliseconds Batcher::PromiseRoom(uint64_t work) {
  // Refused callers come back in the order of refusal, the first when half of the waiting work is
  // done, one place after the other, so that they do not all come at once.
  const TimePoint now = clock_.Now();
  const double places = std::clamp((now - last_idle_) / kPlaceMore, 1.0, kMostPlaces);
  promised_until_ = std::max(promised_until_, now + TimeOf(queue_.load().work / 2)) +
                    ToTime(places * static_cast<double>(TimeOf(work).count()));
  promised_until_ = std::clamp<TimePoint>(promised_until_, now + kSoonest, now + kLatest);
  return std::chrono::ceil<milliseconds>(promised_until_ - now);
}

bool Batcher::Drop(SamplingJob& job, const absl::Status& status, Jobs& dropped) {
  std::shared_ptr<SamplingJob> removed = queue_.Remove(job);
  ++counters_.dropped;
  if (job.turn_ != nullptr) {
    job.turn_->end = status;
    job.turn_->resumed.NotifyAll();
    return false;
  }
  if (job.status_.ok()) job.status_ = status;
  if (job.pieces_ > 0) return false;
  dropped.push_back(std::move(removed));
  return true;
}

absl::Status Batcher::EndReason(const SamplingJob& job) const {
  if (!job.status_.ok()) return job.status_;
  if (job.deadline < clock_.Now()) return absl::DeadlineExceededError(kExpired);
  if (job.cancelled_) return CallerGone();
  if (stopping_) return absl::UnavailableError(kStopped);
  return absl::OkStatus();
}

void Batcher::Cancel(SamplingJob& job) {
  Jobs dropped;
  absl::Status status;
  {
    MutexLock lock(mutex_);
    job.cancelled_ = true;
    status = EndReason(job);
    if (job.line_ != nullptr) {
      Drop(job, status, dropped);
    } else if (job.turn_ != nullptr) {
      job.turn_->resumed.NotifyAll();
    }
  }
  for (const auto& left : dropped) left->Done(status);
}

void Batcher::Stop() {
  Jobs left;
  std::vector<std::thread> turn_threads;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    queue_.ResumeAll();
    while (SamplingJob* job = queue_.Next()) Drop(*job, absl::UnavailableError(kStopped), left);
    turn_threads.swap(turn_threads_);
  }
  job_added_.NotifyAll();
  turn_started_.NotifyAll();
  for (const auto& job : left) job->Done(absl::UnavailableError(kStopped));
  for (std::thread& executor : executors_) executor.join();
  executors_.clear();
  for (std::thread& thread : turn_threads) thread.join();
  MutexLock lock(mutex_);
  while (submitters_sampling_ > 0) submitter_done_.Wait(mutex_);
}

BatcherCounters Batcher::counters() const {
  MutexLock lock(mutex_);
  BatcherCounters counters = counters_;
  counters.waiting = queue_.load().jobs;
  return counters;
}

std::optional<TimePoint> Batcher::StuckSince() const {
  MutexLock lock(mutex_);
  if (queue_.load().jobs == 0) return std::nullopt;
  return last_progress_;
}

// ---- Executors ----

void Batcher::RunExecutor() {
  Batch batch;
  while (TakeBatch(batch)) {
    for (const auto& job : batch.dropped) job->Done(absl::DeadlineExceededError(kExpired));
    if (!batch.pieces.empty()) Sample(batch);
    if (!batch.turns.empty()) LendTurns(batch);
    batch = Batch();
    MutexLock lock(mutex_);
    --executors_sampling_;
  }
}

bool Batcher::TakeBatch(Batch& batch) {
  MutexLock lock(mutex_);
  SamplingJob* next = nullptr;
  bool idle = false;
  while ((next = NextJob()) == nullptr && !stopping_) {
    idle = true;
    job_added_.Wait(mutex_);
  }
  if (stopping_) return false;
  batch.began = clock_.Now();
  if (idle) last_idle_ = batch.began;
  for (; next != nullptr; next = NextJob()) {
    if (IsLate(*next, batch.began)) {
      Drop(*next, absl::DeadlineExceededError(kExpired), batch.dropped);
      continue;
    }
    if (next->takes_turns_) {
      if (!batch.pieces.empty() || batch.turns.size() == rows_at_once_) break;
      TakeTurn(*next, batch);
      continue;
    }
    const size_t rows = batch.turns.empty() ? RowsToTake(*next, batch) : 0;
    if (rows == 0) break;
    const bool alone = next->runs_alone;
    TakePiece(*next, rows, batch);
    if (alone) break;
  }
  if (!batch.pieces.empty()) ++counters_.batches;
  ++executors_sampling_;
  counters_.rows += batch.rows;
  counters_.turns += batch.turns.size();
  last_progress_ = batch.began;
  if (next != nullptr && num_executors_ > 1) job_added_.NotifyOne();
  return true;
}

SamplingJob* Batcher::NextJob() {
  SamplingJob* next = queue_.Next();
  while (next != nullptr && next->takes_turns_ && next->turn_ == nullptr && !CanStartTurns(*next)) {
    queue_.Suspend(*next);
    next = queue_.Next();
  }
  return next;
}

bool Batcher::IsLate(const SamplingJob& job, TimePoint now) const {
  if (job.deadline < now) return true;
  // A mere estimate does not end a job that keeps nobody waiting, nor one whose work would be lost.
  if (job.next_row_ > 0 || job.turn_ != nullptr || queue_.load().jobs == 1) return false;
  const double threads = static_cast<double>(std::clamp<size_t>(job.rows.size(), 1, rows_at_once_));
  return ToTime(static_cast<double>(job.work_left_) * speed_.factor() / threads) >
         job.deadline - now;
}

size_t Batcher::RowsToTake(const SamplingJob& job, const Batch& batch) const {
  const size_t left = job.rows.size() - job.next_row_;
  const bool first = batch.pieces.empty();
  if (job.runs_alone) return first ? left : 0;
  const double slice = static_cast<double>(options_.slice.count()) *
                       static_cast<double>(rows_at_once_) / speed_.factor();
  const double work = static_cast<double>(job.work_left_) * job.worst_case_;
  const uint64_t room = options_.max_batch_rows - std::min(options_.max_batch_rows, batch.rows);
  // Keep a large job out of a batch of small ones: they would wait for all of it.
  if (!first && std::min(work, slice) > std::max(batch.most_work, slice / 8)) return 0;
  if (left <= room && batch.most_work + work <= slice) return left;
  // Do not cut a job that fits into a batch of its own to fill up this one.
  if (!first && left <= options_.max_batch_rows && work <= slice) return 0;
  size_t rows = 0;
  for (double most = batch.most_work; rows < left && rows < room; ++rows) {
    most += static_cast<double>(job.row_work_[job.next_row_ + rows]) * job.worst_case_;
    if (most > slice && (!first || rows >= rows_at_once_)) break;
  }
  return rows;
}

void Batcher::TakePiece(SamplingJob& job, size_t rows, Batch& batch) {
  uint64_t work = job.work_left_;
  const size_t first = job.next_row_;
  if (rows < job.rows.size() - first) {
    const auto begin = job.row_work_.begin() + static_cast<std::ptrdiff_t>(first);
    work = std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(rows), uint64_t{0});
  }
  queue_.TakeRows(job, rows, work);
  std::shared_ptr<SamplingJob> owner =
      job.next_row_ == job.rows.size() ? queue_.Remove(job) : *job.position_;
  HandOut({std::move(owner), first, rows}, work, batch);
}

void Batcher::HandOut(Piece piece, uint64_t work, Batch& batch) {
  SamplingJob& job = *piece.job;
  if (piece.first == 0) {
    job.taken = batch.began;
    if (!job.runs_alone) job.results.resize(job.rows.size());
  }
  ++job.pieces_;
  batch.rows += piece.count;
  batch.work += static_cast<double>(work);
  batch.most_work += static_cast<double>(work) * job.worst_case_;
  batch.pieces.push_back(std::move(piece));
}

void Batcher::Sample(const Batch& batch) {
  SamplingJob& front = *batch.pieces.front().job;
  std::shared_ptr<Turn> turn;
  absl::Status status;
  if (front.runs_alone) {
    turn = std::make_shared<Turn>(*this, front);
    turn->yields = false;
    for (RowInput& row : front.rows) row.pace = turn.get();
    EndableSampler endable(sampler_, *turn);
    status = front.Run(endable);
  } else {
    status = SamplePieces(batch.pieces);
  }
  absl::InlinedVector<std::pair<SamplingJob*, absl::Status>, 1> done;
  {
    MutexLock lock(mutex_);
    for (const Piece& piece : batch.pieces) {
      SamplingJob& job = *piece.job;
      --job.pieces_;
      if (job.status_.ok()) job.status_ = turn == nullptr || turn->end.ok() ? status : turn->end;
      if (!job.status_.ok() && job.line_ != nullptr) {
        // The job has failed: do not sample the rest of its rows.
        queue_.Remove(job);
      }
      if (job.pieces_ > 0 || job.line_ != nullptr) continue;
      // A job whose rows were all sampled succeeds, even if its caller has gone meanwhile.
      if (job.status_.ok() && job.next_row_ < job.rows.size()) job.status_ = EndReason(job);
      done.emplace_back(&job, job.status_);
    }
  }
  for (const auto& [job, its_status] : done) job->Done(its_status);
  MutexLock lock(mutex_);
  const double threads =
      static_cast<double>(std::clamp<size_t>(batch.rows, 1, front.runs_alone ? 1 : rows_at_once_));
  last_progress_ = clock_.Now();
  speed_.Add(ToTime(batch.work / threads), last_progress_ - batch.began);
}

absl::Status Batcher::SamplePieces(const Pieces& pieces) {
  if (pieces.size() == 1) {
    const Piece& piece = pieces.front();
    return sampler_.Sample(absl::MakeConstSpan(piece.job->rows).subspan(piece.first, piece.count),
                           absl::MakeSpan(piece.job->results).subspan(piece.first, piece.count));
  }
  std::vector<RowInput> rows;
  for (const Piece& piece : pieces) {
    const auto first = piece.job->rows.begin() + static_cast<std::ptrdiff_t>(piece.first);
    rows.insert(rows.end(), first, first + static_cast<std::ptrdiff_t>(piece.count));
  }
  std::vector<RowResult> results(rows.size());
  const absl::Status status = sampler_.Sample(rows, absl::MakeSpan(results));
  auto sampled = results.begin();
  for (const Piece& piece : pieces) {
    for (size_t i = 0; i < piece.count; ++i) {
      piece.job->results[piece.first + i] = std::move(*sampled++);
    }
  }
  return status;
}

}  // namespace token_sampler
