// The shared memory that tensors may lie in: who may register it, and under which name it is found.
//
// A region belongs to the client who registered it: a user of a Unix socket, who is the same in all
// of his processes, or an address. Each has names of its own, and knows nothing of those of others.

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

// How a CUDA region is opened: the memory of an IPC handle, and the event that its owner records
// when it has written there. InvalidArgument and OutOfRange say what is wrong with them.
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
  std::string kinds = "off";                      // off, system, cuda or all
  std::string prefix = "token-sampler-";          // of names of objects, with or without the slash
  std::string peers = "local";                    // local (Unix socket, loopback) or any
  std::string owners = "client";                  // client, or any: regions are everybody's
  uint64_t max_regions = 1024;                    // at once; fewer where descriptors are
  uint64_t max_regions_per_owner = 768;           // of one user's objects, whoever registers them
  uint64_t max_regions_per_peer = 64;             // of one connection
  uint64_t max_tensor_bytes = uint64_t{1} << 30;  // read by one call from one region
  OpenCudaRegion open_cuda = nullptr;             // null: no sampler reads device memory
  PagePinning pinning = {};                       // of system regions; empty: none are pinned
  Ledger* ledger = nullptr;                       // that grants pinned pages; null: no budget
  // Tells if a connection (CallIdentity) is still there; null: not known.
  std::function<bool(const std::string& connection)> connected = nullptr;
};

// Thread-safe. A caller finds its own regions only.
class RegionRegistry {
 public:
  explicit RegionRegistry(const RegionOptions& options);

  // True when the caller is on another machine, as far as its name tells.
  static bool IsRemote(const CallIdentity& caller);

  // FailedPrecondition when regions are off, PermissionDenied when the caller may not use them.
  absl::Status CheckUse(const CallIdentity& caller) const;

  // `name` has 1 .. 255 bytes. AlreadyExists when it is taken, ResourceExhausted beyond a limit,
  // for which idle regions do not count whose object or connection is gone: their clients have
  // often gone with it. InvalidArgument, NotFound, OutOfRange and PermissionDenied say what is
  // wrong with the object, and that the caller may not open it, as SystemRegion::Open has it. One
  // that cannot be pinned is registered all the same, and the log says why.
  absl::Status Register(const std::string& name, const SystemRegionRequest& request,
                        const CallIdentity& caller);

  // As above. InvalidArgument for an offset at which no value of every type can lie,
  // FailedPrecondition when no sampler reads device memory; the errors of open_cuda.
  absl::Status Register(const std::string& name, const CudaRegionRequest& request,
                        const CallIdentity& caller);

  // Forgets a region. `released` runs once nobody reads it any more, maybe before this returns, on
  // whichever thread that is. NotFound, without `released`, when the name is unknown. Root on a
  // Unix socket, who has none of the name, forgets those of all clients.
  absl::Status Unregister(const std::string& name, const CallIdentity& caller,
                          std::function<void()> released);

  // The same for all of the caller's regions of a kind, or everybody's for root on a Unix socket.
  void UnregisterAll(RegionKind kind, const CallIdentity& caller, std::function<void()> released);

  // The same for all that the caller's connection has registered.
  void UnregisterAll(const CallIdentity& caller, std::function<void()> released);

  // NotFound for a name that is not registered. The region stays as it is until the pointer goes.
  absl::StatusOr<std::shared_ptr<const Region>> Find(const std::string& name,
                                                     const CallIdentity& caller) const;

  struct Listed {
    std::string name;
    RegionKind kind = RegionKind::kSystem;
    std::string key;      // of a system region
    uint64_t offset = 0;  // inside the object or allocation
    uint32_t device = 0;  // of a CUDA region
    uint64_t byte_size = 0;
    uint32_t calls_in_flight = 0;
  };
  // The caller's by name, or for root on a Unix socket those of every client in turn.
  std::vector<Listed> List(const CallIdentity& caller) const;

  // Whether regions of this kind may be registered at all.
  bool Has(RegionKind kind) const;

  const RegionOptions& options() const { return options_; }

 private:
  struct Entry {
    std::shared_ptr<Region> region;
    std::string connection;
    Listed listed;
  };

  // The owner of regions that the caller registers and finds.
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
