// The shared memory that tensors may be in: who may register it, and the names under which it is
// found.
//
// A region belongs to the client that registered it: a user on a Unix socket, whichever process
// connects, or an address. Each client has its own names and cannot see those of others.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_REGION_REGISTRY_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_REGION_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batching/mutex.h"
#include "server/batching/sampling_job.h"
#include "server/memory/ledger.h"
#include "server/regions/pinned_pages.h"
#include "server/regions/region.h"

namespace token_sampler {

enum class RegionKind : uint8_t { kSystem, kCuda };

struct SystemRegionRequest {
  std::string key;      // of the object, with or without a leading slash
  uint64_t offset = 0;  // inside the object
  uint64_t byte_size = 0;
};

// The memory of an IPC handle, and the event that its owner records after writing there.
struct CudaRegionRequest {
  std::string handle;  // a cudaIpcMemHandle_t, 64 bytes
  std::string event;   // a cudaIpcEventHandle_t, 64 bytes, or empty
  uint32_t device = 0;
  uint64_t offset = 0;  // inside the allocation
  uint64_t byte_size = 0;
};
using OpenCudaRegion =
    std::function<absl::StatusOr<std::shared_ptr<Region>>(const CudaRegionRequest& request)>;

struct RegionOptions {
  std::string kinds = "off";              // off, system, cuda or all
  std::string prefix = "token-sampler-";  // that object names start with, with or without the slash
  std::string peers = "local";            // local (Unix socket, loopback) or any
  std::string owners = "client";          // client, or any: everybody shares all regions
  uint64_t max_regions = 1024;            // at a time; fewer if descriptors are scarce
  uint64_t max_regions_per_owner = 768;   // that are objects of one user, whoever registers them
  uint64_t max_regions_per_peer = 64;     // of one connection
  uint64_t max_tensor_bytes = uint64_t{1} << 30;  // read by one call from one region
  OpenCudaRegion open_cuda = nullptr;             // null: no sampler reads device memory
  PagePinning pinning = {};                       // of system regions; empty: none are pinned
  Ledger* ledger = nullptr;  // grants the memory of pinned pages; null: no budget
  // True while a connection (CallIdentity) is open; null: not known.
  std::function<bool(const std::string& connection)> connected = nullptr;
};

// Thread-safe. A caller finds only its own regions.
class RegionRegistry {
 public:
  explicit RegionRegistry(const RegionOptions& options);

  // True unless the name of the caller's connection shows that it is on this machine.
  static bool IsRemote(const CallIdentity& caller);

  // FailedPrecondition when regions are off, PermissionDenied when this caller may not use them.
  absl::Status CheckUse(const CallIdentity& caller) const;

  // Registers a region under `name`, of 1 .. 255 bytes. AlreadyExists when the name is taken;
  // ResourceExhausted beyond a limit, after unused regions whose object or connection is gone have
  // been forgotten to make room; InvalidArgument, NotFound, OutOfRange or PermissionDenied when the
  // request is wrong or the caller may not open the object (see SystemRegion::Open). A region that
  // cannot be pinned is registered all the same, and the log says why.
  absl::Status Register(const std::string& name, const SystemRegionRequest& request,
                        const CallIdentity& caller);

  // As above. InvalidArgument when the offset is not aligned for every value type,
  // FailedPrecondition when no sampler reads device memory; the errors of open_cuda.
  absl::Status Register(const std::string& name, const CudaRegionRequest& request,
                        const CallIdentity& caller);

  // Forgets a region. `released` runs once nobody reads the region any more, on any thread,
  // possibly before this returns. NotFound when the name is unknown: `released` does not run. If
  // root on a Unix socket has no region of the name, this forgets those of all clients.
  absl::Status Unregister(const std::string& name, const CallIdentity& caller,
                          std::function<void()> released);

  // Forgets all of the caller's regions of a kind, or everybody's for root on a Unix socket.
  void UnregisterAll(RegionKind kind, const CallIdentity& caller, std::function<void()> released);

  // Forgets all regions that the caller's connection has registered.
  void UnregisterAll(const CallIdentity& caller, std::function<void()> released);

  // NotFound when the caller has no region of the name. The region stays mapped while the pointer
  // is held.
  absl::StatusOr<std::shared_ptr<const Region>> Find(const std::string& name,
                                                     const CallIdentity& caller) const;

  struct Listed {
    std::string name;
    RegionKind kind = RegionKind::kSystem;
    std::string key;      // only of a system region
    uint64_t offset = 0;  // inside the object or allocation
    uint32_t device = 0;  // only of a CUDA region
    uint64_t byte_size = 0;
    uint32_t calls_in_flight = 0;
  };
  // The caller's regions by name; for root on a Unix socket those of every client in turn.
  std::vector<Listed> List(const CallIdentity& caller) const;

  // True if the server's options allow regions of this kind.
  bool Has(RegionKind kind) const;

  const RegionOptions& options() const { return options_; }

 private:
  struct Entry {
    std::shared_ptr<Region> region;
    std::string connection;
    Listed listed;
  };

  // The owner under which the caller registers and finds regions.
  std::string OwnerOf(const CallIdentity& caller) const;
  absl::Status CheckRequest(RegionKind kind, absl::string_view name, uint64_t byte_size,
                            const CallIdentity& caller) const;
  absl::StatusOr<std::string> CheckKey(absl::string_view key) const;
  absl::Status CheckQuotas(absl::string_view connection, int64_t object_owner) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::shared_ptr<Region>> TakeGone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Add(Listed listed, std::shared_ptr<Region> region, const CallIdentity& caller);
  template <typename Chosen>
  bool UnregisterIf(const Chosen& chosen, const std::function<void()>& released);

  const RegionOptions options_;
  const uint64_t max_regions_;
  mutable Mutex mutex_;
  using Key = std::pair<std::string, std::string>;  // owner and name
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_REGION_REGISTRY_H_
