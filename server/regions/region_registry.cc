#include "server/regions/region_registry.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/usage/counted.h"
#include "server/invalid_argument.h"
#include "server/regions/system_region.h"

namespace token_sampler {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kHandleBytes = 64;  // of CUDA's IPC handles

bool IsKeyCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
}

// Runs `done` when its last copy goes.
std::shared_ptr<void> AtTheEnd(std::function<void()> done) {
  return {nullptr, [done = std::move(done)](void*) { done(); }};
}

// Half of the descriptors that the process may have are for connections and all else. A region has
// one, and another that watches it where it is pinned.
uint64_t MostDescriptors(const RegionOptions& options) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return options.max_regions;
  return std::max<uint64_t>(1, limit.rlim_cur / (options.pinning.pin == nullptr ? 2 : 4));
}

}  // namespace

RegionRegistry::RegionRegistry(const RegionOptions& options)
    : options_(options), max_regions_(std::min(options.max_regions, MostDescriptors(options))) {}

bool RegionRegistry::IsRemote(absl::string_view peer) {
  // gRPC escapes the brackets of IPv6.
  const std::string plain = absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}});
  for (absl::string_view local :
       {"unix:", "unix-abstract:", "ipv4:127.", "ipv6:[::1]:", "ipv6:[::ffff:127."}) {
    if (absl::StartsWith(plain, local)) return false;
  }
  return true;
}

absl::Status RegionRegistry::CheckUse(bool remote_peer) const {
  if (options_.kinds == "off") {
    return absl::FailedPreconditionError(
        "shared memory is off: start the server with --shared-memory=system");
  }
  if (remote_peer && options_.peers != "any") {
    return absl::PermissionDeniedError(
        "shared memory is for clients on a Unix socket or the loopback interface; "
        "--shared-memory-peers=any lifts that");
  }
  return absl::OkStatus();
}

absl::Status RegionRegistry::CheckRequest(RegionKind kind, absl::string_view name,
                                          uint64_t byte_size, absl::string_view peer) const {
  if (absl::Status status = CheckUse(IsRemote(peer)); !status.ok()) return status;
  if (!Has(kind)) {
    return absl::FailedPreconditionError(
        absl::StrCat("regions of kind ", kind == RegionKind::kSystem ? "system" : "cuda",
                     " are off: the server was started with --shared-memory=", options_.kinds));
  }
  if (name.empty() || name.size() > kMaxName) {
    return Invalid("name must have 1 .. ", kMaxName, " bytes, got ", name.size());
  }
  if (byte_size == 0) return Invalid("byte_size must be above 0");
  return absl::OkStatus();
}

absl::StatusOr<std::string> RegionRegistry::CheckKey(absl::string_view key) const {
  const absl::string_view bare = absl::StartsWith(key, "/") ? key.substr(1) : key;
  if (bare.empty() || bare.size() >= kMaxName ||
      !std::all_of(bare.begin(), bare.end(), IsKeyCharacter)) {
    return Invalid("key must have 1 .. ", kMaxName - 1,
                   " letters, digits, '-', '_' and '.' behind an optional '/', got \"",
                   absl::string_view(key).substr(0, kMaxName), "\"");
  }
  if (!absl::StartsWith(bare, absl::StripPrefix(options_.prefix, "/"))) {
    return absl::PermissionDeniedError(absl::StrCat("key must start with \"", options_.prefix,
                                                    "\" (--shared-memory-prefix), got \"", bare,
                                                    "\""));
  }
  if (bare == "." || bare == "..") return Invalid("key must name an object, got \"", bare, "\"");
  return absl::StrCat("/", bare);
}

bool RegionRegistry::Has(RegionKind kind) const {
  const bool system = kind == RegionKind::kSystem;
  return options_.kinds == "all" || options_.kinds == (system ? "system" : "cuda");
}

absl::Status RegionRegistry::Register(const std::string& name, const SystemRegionRequest& request,
                                      absl::string_view peer) {
  absl::Status status = CheckRequest(RegionKind::kSystem, name, request.byte_size, peer);
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> key = CheckKey(request.key);
  if (!key.ok()) return key.status();
  absl::StatusOr<std::shared_ptr<SystemRegion>> opened =
      SystemRegion::Open(*key, request.offset, request.byte_size);
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<SystemRegion> region = *std::move(opened);
  status = Add({.name = name,
                .kind = RegionKind::kSystem,
                .key = *key,
                .offset = request.offset,
                .byte_size = request.byte_size},
               region, peer);
  // Behind the quotas, which are so those of pinned memory too.
  if (!status.ok() || options_.pinning.pin == nullptr) return status;
  if (const absl::Status pinned = region->Pin(options_.pinning, options_.ledger); !pinned.ok()) {
    spdlog::info("region \"{}\" is not pinned, its rows go through staging: {}",
                 absl::CEscape(name), std::string(pinned.message()));
  }
  return status;
}

absl::Status RegionRegistry::Register(const std::string& name, const CudaRegionRequest& request,
                                      absl::string_view peer) {
  absl::Status status = CheckRequest(RegionKind::kCuda, name, request.byte_size, peer);
  if (!status.ok()) return status;
  if (request.handle.size() != kHandleBytes) {
    return Invalid("cuda_handle must have the ", kHandleBytes,
                   " bytes of a cudaIpcMemHandle_t, got ", request.handle.size());
  }
  if (!request.event.empty() && request.event.size() != kHandleBytes) {
    return Invalid("cuda_event must have the ", kHandleBytes,
                   " bytes of a cudaIpcEventHandle_t, got ", request.event.size());
  }
  // Rows are read where they lie, by loads of whole values.
  if (request.offset % sizeof(double) != 0) {
    return Invalid("offset must be a multiple of ", sizeof(double), " for kind CUDA, got ",
                   request.offset);
  }
  if (!options_.open_cuda) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device ", request.device, ": this server has no sampler that reads CUDA IPC memory"));
  }
  absl::StatusOr<std::shared_ptr<Region>> opened = options_.open_cuda(request);
  if (!opened.ok()) return opened.status();
  return Add({.name = name,
              .kind = RegionKind::kCuda,
              .key = "",
              .offset = request.offset,
              .device = request.device,
              .byte_size = request.byte_size},
             *std::move(opened), peer);
}

absl::Status RegionRegistry::CheckQuotas(absl::string_view peer, int64_t owner) const {
  const auto of_peer = std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return absl::string_view(entry.second.peer) == peer;
  });
  if (static_cast<uint64_t>(of_peer) >= options_.max_regions_per_peer) {
    return absl::ResourceExhaustedError(absl::StrCat("this connection has ",
                                                     Counted(of_peer, "region"),
                                                     ", as many as one may have; unregister one"));
  }
  const auto of_owner = std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return owner >= 0 && entry.second.region->owner() == owner;
  });
  if (static_cast<uint64_t>(of_owner) >= options_.max_regions_per_owner) {
    return absl::ResourceExhaustedError(
        absl::StrCat("objects of user ", owner, " are in ", Counted(of_owner, "region"),
                     ", as many as those of one may be (--max-regions-per-owner)"));
  }
  if (entries_.size() >= max_regions_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the server has ", Counted(entries_.size(), "region"), ", as many as it may have"));
  }
  return absl::OkStatus();
}

std::vector<std::shared_ptr<Region>> RegionRegistry::TakeGone() {
  std::vector<std::shared_ptr<Region>> gone;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    std::shared_ptr<Region>& region = entry->second.region;
    const bool left = options_.connected != nullptr && !options_.connected(entry->second.peer);
    if (region.use_count() > 1 || (!left && !region->IsGone())) {
      ++entry;
      continue;
    }
    gone.push_back(std::move(region));
    entry = entries_.erase(entry);
  }
  return gone;
}

absl::Status RegionRegistry::Add(Listed listed, std::shared_ptr<Region> region,
                                 absl::string_view peer) {
  std::vector<std::shared_ptr<Region>> gone;  // outlives the lock: unmapping takes its time
  const MutexLock lock(mutex_);
  if (entries_.contains(listed.name)) {
    return absl::AlreadyExistsError(absl::StrCat("a region \"", listed.name, "\" is registered"));
  }
  absl::Status status = CheckQuotas(peer, region->owner());
  if (!status.ok()) {
    gone = TakeGone();
    status = CheckQuotas(peer, region->owner());
  }
  if (!status.ok()) return status;
  std::string name = listed.name;
  entries_.emplace(std::move(name), Entry{std::move(region), std::string(peer), std::move(listed)});
  return absl::OkStatus();
}

absl::Status RegionRegistry::Unregister(absl::string_view name, std::function<void()> released) {
  std::shared_ptr<Region> region;
  {
    const MutexLock lock(mutex_);
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) {
      return absl::NotFoundError(absl::StrCat("no region \"", name, "\" is registered"));
    }
    region = std::move(entry->second.region);
    entries_.erase(entry);
    region->released_ = AtTheEnd(std::move(released));
  }
  return absl::OkStatus();
}

template <typename Chosen>
void RegionRegistry::UnregisterIf(const Chosen& chosen, std::function<void()> released) {
  // Both outlive the lock: with them goes what nobody reads, and `released` runs.
  std::vector<std::shared_ptr<Region>> regions;
  const std::shared_ptr<void> end = AtTheEnd(std::move(released));
  const MutexLock lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (!chosen(entry->second)) {
      ++entry;
      continue;
    }
    entry->second.region->released_ = end;
    regions.push_back(std::move(entry->second.region));
    entry = entries_.erase(entry);
  }
}

void RegionRegistry::UnregisterAll(RegionKind kind, std::function<void()> released) {
  UnregisterIf([kind](const Entry& entry) { return entry.listed.kind == kind; },
               std::move(released));
}

void RegionRegistry::UnregisterAll(const std::string& peer, std::function<void()> released) {
  UnregisterIf([&peer](const Entry& entry) { return entry.peer == peer; }, std::move(released));
}

absl::StatusOr<std::shared_ptr<const Region>> RegionRegistry::Find(absl::string_view name) const {
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) {
    return absl::NotFoundError(absl::StrCat("no region \"", name, "\" is registered"));
  }
  return entry->second.region;
}

std::vector<RegionRegistry::Listed> RegionRegistry::List() const {
  std::vector<Listed> listed;
  const MutexLock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    listed.push_back(entry.listed);
    listed.back().calls_in_flight = static_cast<uint32_t>(entry.region.use_count() - 1);
  }
  return listed;
}

}  // namespace token_sampler
