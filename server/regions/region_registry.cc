#include "server/regions/region_registry.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/regions/system_region.h"

namespace token_sampler {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kHandleBytes = 64;  // of CUDA's IPC handles
constexpr absl::string_view kUnix = "unix:";

bool IsKeyCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
}

// Runs `done` when its last copy goes.
std::shared_ptr<void> AtTheEnd(std::function<void()> done) {
  return {nullptr, [done = std::move(done)](void*) { done(); }};
}

// The user on the other end of a Unix socket.
std::optional<uid_t> UserOf(const CallIdentity& caller) {
  absl::string_view client = caller.client;
  uid_t user = 0;
  if (!absl::ConsumePrefix(&client, kUnix) || !absl::SimpleAtoi(client, &user)) return {};
  return user;
}

absl::Status Unknown(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("no region \"", name, "\" is registered"));
}

// The most regions that half of the process's descriptors allow; the other half is for connections
// and the rest. A region takes one descriptor, and a second one to watch it if it is pinned.
uint64_t MostDescriptors(const RegionOptions& options) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return options.max_regions;
  return std::max<uint64_t>(1, limit.rlim_cur / (options.pinning.pin == nullptr ? 2 : 4));
}

}  // namespace

RegionRegistry::RegionRegistry(const RegionOptions& options)
    : options_(options), max_regions_(std::min(options.max_regions, MostDescriptors(options))) {}

bool RegionRegistry::IsRemote(const CallIdentity& caller) {
  // gRPC escapes the brackets of IPv6.
  const std::string plain = absl::StrReplaceAll(caller.connection, {{"%5B", "["}, {"%5D", "]"}});
  for (const char* local : {"unix:", "ipv4:127.", "ipv6:[::1]:", "ipv6:[::ffff:127."}) {
    if (absl::StartsWith(plain, local)) return false;
  }
  return true;
}

std::string RegionRegistry::OwnerOf(const CallIdentity& caller) const {
  if (options_.owners == "any") return "";
  // One client may use several of the loopback interface's many addresses: they count as one.
  const bool loopback = !IsRemote(caller) && !absl::StartsWith(caller.client, kUnix);
  return loopback ? "loopback" : caller.client;
}

absl::Status RegionRegistry::CheckUse(const CallIdentity& caller) const {
  if (options_.kinds == "off") {
    return absl::FailedPreconditionError(
        "shared memory is off: start the server with --shared-memory=system");
  }
  if (options_.peers != "any" && IsRemote(caller)) {
    return absl::PermissionDeniedError(
        "shared memory is for clients on a Unix socket or the loopback interface; "
        "--shared-memory-peers=any lifts that");
  }
  return absl::OkStatus();
}

absl::Status RegionRegistry::CheckRequest(RegionKind kind, absl::string_view name,
                                          uint64_t byte_size, const CallIdentity& caller) const {
  RETURN_IF_ERROR(CheckUse(caller));
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
                   " letters, digits, '-', '_' and '.' after an optional '/', got \"",
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
                                      const CallIdentity& caller) {
  RETURN_IF_ERROR(CheckRequest(RegionKind::kSystem, name, request.byte_size, caller));
  ASSIGN_OR_RETURN(const std::string key, CheckKey(request.key));
  ASSIGN_OR_RETURN(const std::shared_ptr<SystemRegion> region,
                   SystemRegion::Open(key, request.offset, request.byte_size, UserOf(caller)));
  RETURN_IF_ERROR(Add({.name = name,
                       .kind = RegionKind::kSystem,
                       .key = key,
                       .offset = request.offset,
                       .byte_size = request.byte_size},
                      region, caller));
  // Pin after Add(), so that the quotas bound pinned memory too.
  if (options_.pinning.pin == nullptr) return absl::OkStatus();
  if (const absl::Status pinned = region->Pin(options_.pinning, options_.ledger); !pinned.ok()) {
    spdlog::info("region \"{}\" is not pinned, its rows go through staging: {}",
                 absl::CEscape(name), std::string(pinned.message()));
  }
  return absl::OkStatus();
}

absl::Status RegionRegistry::Register(const std::string& name, const CudaRegionRequest& request,
                                      const CallIdentity& caller) {
  RETURN_IF_ERROR(CheckRequest(RegionKind::kCuda, name, request.byte_size, caller));
  if (request.handle.size() != kHandleBytes) {
    return Invalid("cuda_handle must have the ", kHandleBytes,
                   " bytes of a cudaIpcMemHandle_t, got ", request.handle.size());
  }
  if (!request.event.empty() && request.event.size() != kHandleBytes) {
    return Invalid("cuda_event must have the ", kHandleBytes,
                   " bytes of a cudaIpcEventHandle_t, got ", request.event.size());
  }
  // Rows are read in place, by loads of whole values.
  if (request.offset % sizeof(double) != 0) {
    return Invalid("offset must be a multiple of ", sizeof(double), " for kind CUDA, got ",
                   request.offset);
  }
  if (!options_.open_cuda) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device ", request.device, ": this server has no sampler that reads CUDA IPC memory"));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<Region> opened, options_.open_cuda(request));
  return Add({.name = name,
              .kind = RegionKind::kCuda,
              .key = "",
              .offset = request.offset,
              .device = request.device,
              .byte_size = request.byte_size},
             std::move(opened), caller);
}

absl::Status RegionRegistry::CheckQuotas(absl::string_view connection, int64_t object_owner) const {
  const auto of_peer = std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.connection == connection;
  });
  if (static_cast<uint64_t>(of_peer) >= options_.max_regions_per_peer) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this connection has ", Counted(of_peer, "region"),
                     ", the limit (--max-regions-per-peer); unregister one"));
  }
  const auto of_owner = std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return object_owner >= 0 && entry.second.region->owner() == object_owner;
  });
  if (static_cast<uint64_t>(of_owner) >= options_.max_regions_per_owner) {
    return absl::ResourceExhaustedError(
        absl::StrCat("objects of user ", object_owner, " are in ", Counted(of_owner, "region"),
                     ", the limit of one user (--max-regions-per-owner)"));
  }
  if (entries_.size() >= max_regions_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the server has ", Counted(entries_.size(), "region"), ", its limit (--max-regions)"));
  }
  return absl::OkStatus();
}

std::vector<std::shared_ptr<Region>> RegionRegistry::TakeGone() {
  std::vector<std::shared_ptr<Region>> gone;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    std::shared_ptr<Region>& region = entry->second.region;
    const bool left =
        options_.connected != nullptr && !options_.connected(entry->second.connection);
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
                                 const CallIdentity& caller) {
  std::vector<std::shared_ptr<Region>> gone;  // outlives the lock: unmapping is slow
  Key key(OwnerOf(caller), listed.name);
  const MutexLock lock(mutex_);
  if (entries_.contains(key)) {
    return absl::AlreadyExistsError(absl::StrCat("a region \"", listed.name, "\" is registered"));
  }
  absl::Status status = CheckQuotas(caller.connection, region->owner());
  if (!status.ok()) {
    gone = TakeGone();
    status = CheckQuotas(caller.connection, region->owner());
  }
  if (!status.ok()) return status;
  entries_.emplace(std::move(key), Entry{std::move(region), caller.connection, std::move(listed)});
  return absl::OkStatus();
}

template <typename Chosen>
bool RegionRegistry::UnregisterIf(const Chosen& chosen, const std::function<void()>& released) {
  // Both outlive the lock: their destructors unmap what nobody reads and run `released`.
  std::vector<std::shared_ptr<Region>> regions;
  std::shared_ptr<void> end;
  const MutexLock lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (!chosen(entry->first, entry->second)) {
      ++entry;
      continue;
    }
    if (regions.empty()) end = AtTheEnd(released);
    entry->second.region->released_ = end;
    regions.push_back(std::move(entry->second.region));
    entry = entries_.erase(entry);
  }
  return !regions.empty();
}

absl::Status RegionRegistry::Unregister(const std::string& name, const CallIdentity& caller,
                                        std::function<void()> released) {
  const Key key(OwnerOf(caller), name);
  if (UnregisterIf([&](const Key& its, const Entry&) { return its == key; }, released) ||
      (UserOf(caller) == 0 &&
       UnregisterIf([&](const Key& its, const Entry&) { return its.second == name; }, released))) {
    return absl::OkStatus();
  }
  return Unknown(name);
}

void RegionRegistry::UnregisterAll(RegionKind kind, const CallIdentity& caller,
                                   std::function<void()> released) {
  const std::string owner = OwnerOf(caller);
  const bool everybodys = UserOf(caller) == 0;
  const bool any = UnregisterIf(
      [&](const Key& its, const Entry& entry) {
        return entry.listed.kind == kind && (everybodys || its.first == owner);
      },
      released);
  if (!any) released();
}

void RegionRegistry::UnregisterAll(const CallIdentity& caller, std::function<void()> released) {
  const bool any = UnregisterIf(
      [&](const Key&, const Entry& entry) { return entry.connection == caller.connection; },
      released);
  if (!any) released();
}

absl::StatusOr<std::shared_ptr<const Region>> RegionRegistry::Find(
    const std::string& name, const CallIdentity& caller) const {
  const Key key(OwnerOf(caller), name);
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(key);
  if (entry == entries_.end()) return Unknown(name);
  return entry->second.region;
}

std::vector<RegionRegistry::Listed> RegionRegistry::List(const CallIdentity& caller) const {
  const std::string owner = OwnerOf(caller);
  const bool everybodys = UserOf(caller) == 0;
  std::vector<Listed> listed;
  const MutexLock lock(mutex_);
  for (const auto& [key, entry] : entries_) {
    if (!everybodys && key.first != owner) continue;
    listed.push_back(entry.listed);
    listed.back().calls_in_flight = static_cast<uint32_t>(entry.region.use_count() - 1);
  }
  return listed;
}

}  // namespace token_sampler
