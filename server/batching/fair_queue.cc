#include "server/batching/fair_queue.h"

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <utility>

#include "absl/types/span.h"

namespace token_sampler {

// A node of the tree: the root, a client, a priority, a connection or a line, from the top down.
// Only lines hold jobs.
struct QueueNode {
  using Place = std::pair<double, uint64_t>;  // virtual time, then who came first

  QueueNode* parent = nullptr;
  std::string key;
  FairQueue::Load load;
  Place place;           // in the parent's order, if ordered
  bool ordered = false;  // the parent's order holds it

  double weight = 1;           // among the parent's children
  double children_weight = 0;  // the sum over the children

  double now = 0;  // the latest virtual time at which a child was served
  std::map<Place, QueueNode*> order;
  std::map<std::string, std::unique_ptr<QueueNode>> children;

  std::list<std::shared_ptr<SamplingJob>> jobs;  // only of a line

  QueueNode* Child(const std::string& child) const {
    const auto found = children.find(child);
    return found == children.end() ? nullptr : found->second.get();
  }
};

namespace {

// The line of a job. Jobs of about the same work share one: by powers of 4 from 4 ms on, and all
// below together. Jobs that take turns have lines of their own.
std::string LineOf(uint64_t work, bool takes_turns) {
  constexpr uint64_t kShort = uint64_t{1} << 22;
  const auto size = static_cast<int>(std::bit_width(work / kShort)) / 2;
  return std::string(1, static_cast<char>((takes_turns ? 'A' : 'a') + size));
}

// The part of the queue that the load takes, by rows or bytes, whichever is more, over its weight.
double Share(const FairQueue::Load& load, double weight, uint64_t most_rows, uint64_t most_bytes) {
  return std::max(static_cast<double>(load.rows) / static_cast<double>(most_rows),
                  static_cast<double>(load.bytes) / static_cast<double>(most_bytes)) /
         weight;
}

}  // namespace

FairQueue::FairQueue(ClientWeights weights)
    : weights_(std::move(weights)), root_(std::make_unique<Node>()) {}

FairQueue::~FairQueue() = default;

FairQueue::Path FairQueue::PathOf(const CallIdentity& identity, std::string line) const {
  const auto weight = weights_.find(identity.client);
  return {{{identity.client, weight == weights_.end() ? 1.0 : weight->second},
           {std::string(1, static_cast<char>('0' + identity.priority)),
            static_cast<double>(uint64_t{1} << identity.priority)},
           {identity.connection, 1.0},
           {std::move(line), 1.0}}};
}

void FairQueue::Push(std::shared_ptr<SamplingJob> job) {
  // A job that has had turns does not wait for jobs that have had none.
  std::string line = job->turn_ != nullptr ? "+" : LineOf(job->work_left_, job->takes_turns_);
  Node* node = root_.get();
  for (Step& step : PathOf(job->identity, std::move(line))) {
    std::unique_ptr<Node>& child = node->children[step.key];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->parent = node;
      child->key = std::move(step.key);
      child->weight = step.weight;
      node->children_weight += step.weight;
    }
    node = child.get();
  }
  if (node->jobs.empty()) EnterOrder(*node);
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
    node->place.first += static_cast<double>(work) / node->weight;
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
      parent->children_weight -= node->weight;
      parent->children.erase(node->key);
      if (parent->children.empty()) parent->children_weight = 0;  // drops rounding errors
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
  const Path steps = PathOf(identity, LineOf(work, takes_turns));
  // The nodes from the root to the line; null where there is none yet.
  std::vector<const Node*> path = {root_.get()};
  for (const Step& step : steps) {
    path.push_back(path.back() == nullptr ? nullptr : path.back()->Child(step.key));
  }
  auto until_done = static_cast<double>(work + (path.back() ? path.back()->load.work : 0));
  for (size_t level = path.size() - 1; level > 0; --level) {
    const Node* parent = path[level - 1];
    if (parent == nullptr) continue;
    const double weight = steps[level - 1].weight;
    const double all_weights = parent->children_weight + (path[level] == nullptr ? weight : 0);
    until_done =
        std::min(until_done * all_weights / weight, static_cast<double>(parent->load.work + work));
  }
  return static_cast<uint64_t>(until_done);
}

SamplingJob* FairQueue::MostHeld(const CallIdentity& identity, uint64_t rows, uint64_t bytes,
                                 uint64_t most_rows, uint64_t most_bytes) const {
  const auto share = [&](const Load& load, double weight) {
    return Share(load, weight, most_rows, most_bytes);
  };
  const auto heaviest = [&](const Node& parent) {
    const Node* most = nullptr;
    double most_share = 0;
    for (const auto& [name, node] : parent.children) {
      const double of_node = share(node->load, node->weight);
      if (most != nullptr && of_node <= most_share) continue;
      most = node.get();
      most_share = of_node;
    }
    return most;
  };
  // Find the first level at which somebody holds more than this caller would.
  const Node* own = root_.get();
  const Node* most = nullptr;
  const Path steps = PathOf(identity, {});
  for (const Step& step : absl::MakeConstSpan(steps).first(steps.size() - 1)) {  // no lines
    const Node* const child = own->Child(step.key);
    Load after = child == nullptr ? Load() : child->load;
    after.rows += rows;
    after.bytes += bytes;
    const double after_share = share(after, step.weight);
    // A caller with an even share or more pushes nobody out: most refusals end here.
    if (after_share < share(own->load, own->children_weight)) {
      most = heaviest(*own);
      if (share(most->load, most->weight) <= after_share) most = nullptr;
    }
    if (most != nullptr || child == nullptr) break;
    own = child;
  }
  if (most == nullptr) return nullptr;
  while (!most->children.empty()) most = heaviest(*most);
  for (auto job = most->jobs.rbegin(); job != most->jobs.rend(); ++job) {
    if ((*job)->next_row_ == 0 && (*job)->turn_ == nullptr) return job->get();
  }
  return nullptr;
}

const FairQueue::Load& FairQueue::load() const { return root_->load; }

FairQueue::Load FairQueue::LoadOf(const std::string& client) const {
  const Node* const node = root_->Child(client);
  return node == nullptr ? Load() : node->load;
}

}  // namespace token_sampler
