// The shared memory that tensors may lie in: who may register it, and under which name it is found.
//
// Knows no gRPC: a peer is the string by which gRPC names it ("unix:/path", "ipv4:127.0.0.1:4711").

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_REGION_REGISTRY_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_REGION_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batching/mutex.h"
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
  uint64_t max_regions = 1024;                    // at once; fewer where descriptors are
  uint64_t max_regions_per_owner = 768;           // of one user's objects, whoever registers them
  uint64_t max_regions_per_peer = 64;             // of one connection; a Unix socket counts as one
  uint64_t max_tensor_bytes = uint64_t{1} << 30;  // read by one call from one region
  OpenCudaRegion open_cuda = nullptr;             // null: no sampler reads device memory
  PagePinning pinning = {};                       // of system regions; empty: none are pinned
  Ledger* ledger = nullptr;                       // that grants pinned pages; null: no budget
  // Tells if a connection is still there, by the name of its peer; null: not known.
  std::function<bool(const std::string& peer)> connected = nullptr;
};

// Thread-safe.
class RegionRegistry {
 public:
  explicit RegionRegistry(const RegionOptions& options);

  // Whether a peer is a client on another machine, as far as its name tells.
  static bool IsRemote(absl::string_view peer);

  // FailedPrecondition when regions are off, PermissionDenied when such a peer may not use them.
  absl::Status CheckUse(bool remote_peer) const;

  // `name` has 1 .. 255 bytes. AlreadyExists when it is taken, ResourceExhausted beyond a limit,
  // for which idle regions do not count whose object or connection is gone: their clients have
  // often gone with it. InvalidArgument, NotFound, OutOfRange and PermissionDenied say what is
  // wrong with the object. One that cannot be pinned is registered all the same, and the log says
  // why.
  absl::Status Register(const std::string& name, const SystemRegionRequest& request,
                        absl::string_view peer);

  // As above. InvalidArgument for an offset at which no value of every type can lie,
  // FailedPrecondition when no sampler reads device memory; the errors of open_cuda.
  absl::Status Register(const std::string& name, const CudaRegionRequest& request,
                        absl::string_view peer);

  // Forgets a region. `released` runs once nobody reads it any more, maybe before this returns, on
  // whichever thread that is. NotFound, without `released`, when the name is unknown.
  absl::Status Unregister(absl::string_view name, std::function<void()> released);

  // The same for all regions of a kind, and for all that a peer has registered.
  void UnregisterAll(RegionKind kind, std::function<void()> released);
  void UnregisterAll(const std::string& peer, std::function<void()> released);

  // NotFound for a name that is not registered. The region stays as it is until the pointer goes.
  absl::StatusOr<std::shared_ptr<const Region>> Find(absl::string_view name) const;

  struct Listed {
    std::string name;
    RegionKind kind = RegionKind::kSystem;
    std::string key;      // of a system region
    uint64_t offset = 0;  // inside the object or allocation
    uint32_t device = 0;  // of a CUDA region
    uint64_t byte_size = 0;
    uint32_t calls_in_flight = 0;
  };
  std::vector<Listed> List() const;  // by name

  // Whether regions of this kind may be registered at all.
  bool Has(RegionKind kind) const;

  const RegionOptions& options() const { return options_; }

 private:
  struct Entry {
    std::shared_ptr<Region> region;
    std::string peer;
    Listed listed;
  };

  absl::Status CheckRequest(RegionKind kind, absl::string_view name, uint64_t byte_size,
                            absl::string_view peer) const;
  absl::StatusOr<std::string> CheckKey(absl::string_view key) const;
  absl::Status CheckQuotas(absl::string_view peer, int64_t owner) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::shared_ptr<Region>> TakeGone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Add(Listed listed, std::shared_ptr<Region> region, absl::string_view peer);
  template <typename Chosen>
  void UnregisterIf(const Chosen& chosen, std::function<void()> released);

  const RegionOptions options_;
  const uint64_t max_regions_;
  mutable Mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_REGION_REGISTRY_H_
