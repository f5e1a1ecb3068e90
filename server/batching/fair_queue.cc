#include "server/batching/fair_queue.h"

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <utility>

namespace token_sampler {

// A line of jobs, a connection, whose children are lines, a client of connections, or the root.
struct QueueNode {
  using Place = std::pair<uint64_t, uint64_t>;  // virtual time, then who came first

  QueueNode* parent = nullptr;
  std::string key;
  FairQueue::Load load;
  Place place;           // in the parent's order
  bool ordered = false;  // whether it is there

  uint64_t now = 0;  // the virtual time of the child that was served last
  std::map<Place, QueueNode*> order;
  std::map<std::string, std::unique_ptr<QueueNode>> children;

  std::list<std::shared_ptr<SamplingJob>> jobs;  // of a line

  QueueNode* Child(const std::string& child) const {
    const auto found = children.find(child);
    return found == children.end() ? nullptr : found->second.get();
  }
};

namespace {

// Jobs of about the same work stand in one line: of 4 ms and more by powers of 4, those below
// together. Jobs that take turns have lines of their own.
std::string LineOf(uint64_t work, bool takes_turns) {
  constexpr uint64_t kShort = uint64_t{1} << 22;
  const auto size = static_cast<int>(std::bit_width(work / kShort)) / 2;
  return std::string(1, static_cast<char>((takes_turns ? 'A' : 'a') + size));
}

double Share(const FairQueue::Load& load, uint64_t most_rows, uint64_t most_bytes) {
  return std::max(static_cast<double>(load.rows) / static_cast<double>(most_rows),
                  static_cast<double>(load.bytes) / static_cast<double>(most_bytes));
}

}  // namespace

FairQueue::FairQueue() : root_(std::make_unique<Node>()) {}

FairQueue::~FairQueue() = default;

void FairQueue::Push(std::shared_ptr<SamplingJob> job) {
  // One that has had turns does not wait behind those that have had none.
  const std::string line = job->turn_ != nullptr ? "+" : LineOf(job->work_left_, job->takes_turns_);
  const std::string* const keys[] = {&job->identity.client, &job->identity.connection, &line};
  Node* node = root_.get();
  for (const std::string* key : keys) {
    std::unique_ptr<Node>& child = node->children[*key];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->parent = node;
      child->key = *key;
      if (key == &line) EnterOrder(*child);
    }
    node = child.get();
  }
  SamplingJob& queued = *job;
  for (Node* at = node; at != nullptr; at = at->parent) {
    ++at->load.jobs;
    at->load.rows += queued.rows.size() - queued.next_row_;
    at->load.bytes += queued.bytes;
    at->load.work += queued.work_left_;
  }
  queued.line_ = node;
  queued.position_ = node->jobs.insert(node->jobs.end(), std::move(job));
}

void FairQueue::EnterOrder(Node& line) {
  for (Node* node = &line; node->parent != nullptr && !node->ordered; node = node->parent) {
    node->place = {std::max(node->place.first, node->parent->now), next_activation_++};
    node->parent->order.emplace(node->place, node);
    node->ordered = true;
  }
}

void FairQueue::LeaveOrder(Node& line) {
  for (Node* node = &line; node->parent != nullptr && node->ordered && node->order.empty();
       node = node->parent) {
    node->parent->order.erase(node->place);
    node->ordered = false;
  }
}

SamplingJob* FairQueue::Next() const {
  const Node* node = root_.get();
  if (node->order.empty()) return nullptr;
  while (!node->order.empty()) node = node->order.begin()->second;
  return node->jobs.front().get();
}

void FairQueue::Charge(const SamplingJob& job, uint64_t work) {
  for (Node* node = job.line_; node->parent != nullptr; node = node->parent) {
    Node& parent = *node->parent;
    parent.now = std::max(parent.now, node->place.first);
    if (node->ordered) parent.order.erase(node->place);
    node->place.first += work;
    if (node->ordered) parent.order.emplace(node->place, node);
  }
}

void FairQueue::TakeRows(SamplingJob& job, size_t rows, uint64_t work) {
  Charge(job, work);
  job.next_row_ += rows;
  job.work_left_ -= work;
  for (Node* node = job.line_; node != nullptr; node = node->parent) {
    node->load.rows -= rows;
    node->load.work -= work;
  }
}

std::shared_ptr<SamplingJob> FairQueue::Remove(SamplingJob& job) {
  Node* node = std::exchange(job.line_, nullptr);
  std::shared_ptr<SamplingJob> removed = std::move(*job.position_);
  node->jobs.erase(job.position_);
  while (node != nullptr) {
    --node->load.jobs;
    node->load.rows -= job.rows.size() - job.next_row_;
    node->load.bytes -= job.bytes;
    node->load.work -= job.work_left_;
    Node* const parent = node->parent;
    if (parent != nullptr && node->load.jobs == 0) {
      LeaveOrder(*node);
      suspended_.erase(std::remove(suspended_.begin(), suspended_.end(), node), suspended_.end());
      parent->children.erase(node->key);
    }
    node = parent;
  }
  return removed;
}

void FairQueue::Suspend(const SamplingJob& job) {
  LeaveOrder(*job.line_);
  suspended_.push_back(job.line_);
}

void FairQueue::ResumeAll() {
  for (Node* line : suspended_) EnterOrder(*line);
  suspended_.clear();
}

uint64_t FairQueue::WorkUntilDone(const CallIdentity& identity, bool takes_turns,
                                  uint64_t work) const {
  const std::string line = LineOf(work, takes_turns);
  // From the root to the line, as far as they are there already.
  std::vector<const Node*> path = {root_.get()};
  for (const std::string* key : {&identity.client, &identity.connection, &line}) {
    path.push_back(path.back() == nullptr ? nullptr : path.back()->Child(*key));
  }
  uint64_t until_done = work + (path.back() == nullptr ? 0 : path.back()->load.work);
  for (size_t level = path.size() - 1; level > 0; --level) {
    const Node* parent = path[level - 1];
    if (parent == nullptr) continue;
    const uint64_t sharers = parent->children.size() + (path[level] == nullptr ? 1 : 0);
    const uint64_t all = parent->load.work + work;
    until_done = until_done > all / sharers ? all : until_done * sharers;
  }
  return until_done;
}

SamplingJob* FairQueue::MostHeld(const CallIdentity& identity, uint64_t rows, uint64_t bytes,
                                 uint64_t most_rows, uint64_t most_bytes) const {
  const auto share = [&](const Load& load) { return Share(load, most_rows, most_bytes); };
  // The first level at which somebody holds more than this caller would.
  const Node* own = root_.get();
  const Node* most = nullptr;
  for (const std::string* key : {&identity.client, &identity.connection}) {
    const Node* const child = own->Child(*key);
    Load after = child == nullptr ? Load() : child->load;
    after.rows += rows;
    after.bytes += bytes;
    // Whoever holds an even share or more pushes nobody out: most refusals end here.
    if (share(after) * static_cast<double>(own->children.size()) < share(own->load)) {
      for (const auto& [name, node] : own->children) {
        if (most == nullptr || share(node->load) > share(most->load)) most = node.get();
      }
      if (share(most->load) <= share(after)) most = nullptr;
    }
    if (most != nullptr || child == nullptr) break;
    own = child;
  }
  if (most == nullptr) return nullptr;
  while (!most->children.empty()) {
    const Node* heaviest = nullptr;
    for (const auto& [name, node] : most->children) {
      if (heaviest == nullptr || share(node->load) > share(heaviest->load)) heaviest = node.get();
    }
    most = heaviest;
  }
  for (auto job = most->jobs.rbegin(); job != most->jobs.rend(); ++job) {
    if ((*job)->next_row_ == 0 && (*job)->turn_ == nullptr) return job->get();
  }
  return nullptr;
}

const FairQueue::Load& FairQueue::load() const { return root_->load; }

}  // namespace token_sampler
