#include "token_sampler/shared_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

absl::Status SystemError(absl::string_view what, const std::string& key, int error) {
  const std::string message = absl::StrCat(what, " ", key, ": ", strerror(error));
  return error == ENOSPC || error == ENOMEM || error == EMFILE || error == ENFILE
             ? absl::ResourceExhaustedError(message)
             : absl::FailedPreconditionError(message);
}

// Creates the object and allocates all its memory, so that no later write to it can fail.
absl::Status CreateObject(const std::string& key, size_t byte_size, void*& data) {
  const int fd = shm_open(key.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0) return SystemError("cannot create", key, errno);
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(byte_size));
  absl::Status status;
  if (error != 0) {
    status = SystemError(absl::StrCat("cannot have ", byte_size, " bytes for"), key, error);
  } else {
    data = mmap(nullptr, byte_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) status = SystemError("cannot map", key, errno);
  }
  close(fd);
  if (!status.ok()) shm_unlink(key.c_str());
  return status;
}

}  // namespace

struct SharedRegion::Mapping {
  ~Mapping() {
    if (unregister) unregister();
    munmap(data, byte_size);
    shm_unlink(key.c_str());
  }

  std::string key;
  std::string name;
  void* data = nullptr;
  size_t byte_size = 0;
  std::function<void()> unregister;  // set once it is registered
};

SharedRegion::SharedRegion(std::unique_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
SharedRegion::SharedRegion(SharedRegion&&) noexcept = default;
SharedRegion& SharedRegion::operator=(SharedRegion&&) noexcept = default;
SharedRegion::~SharedRegion() = default;

absl::StatusOr<SharedRegion> SharedRegion::Create(const SamplerClient& client, size_t byte_size,
                                                  absl::string_view prefix) {
  constexpr size_t kMaxBytes = size_t{1} << 62;
  if (byte_size < 1 || byte_size > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("byte_size must be in [1, ", kMaxBytes, "], got ", byte_size));
  }
  uint64_t random = 0;
  if (getrandom(&random, sizeof(random), 0) != static_cast<ssize_t>(sizeof(random))) {
    return SystemError("cannot choose a name for", std::string(prefix), errno);
  }
  const std::string name = absl::StrCat(prefix, getpid(), "-", absl::Hex(random));
  const std::string key = absl::StrCat("/", name);
  void* data = nullptr;
  RETURN_IF_ERROR(CreateObject(key, byte_size, data));
  auto mapping = std::make_unique<Mapping>();
  mapping->key = key;
  mapping->name = name;
  mapping->data = data;
  mapping->byte_size = byte_size;
  RETURN_IF_ERROR(client.RegisterRegion(name, key, 0, byte_size));
  mapping->unregister = client.Unregisterer(name);
  return SharedRegion(std::move(mapping));
}

void* SharedRegion::data() { return mapping_->data; }
size_t SharedRegion::byte_size() const { return mapping_->byte_size; }
const std::string& SharedRegion::name() const { return mapping_->name; }

Matrix SharedRegion::Rows(uint64_t offset, DataType dtype, int64_t rows, int64_t vocab,
                          uint64_t row_stride) const {
  Matrix matrix;
  matrix.dtype = dtype;
  matrix.rows = rows;
  matrix.vocab = vocab;
  matrix.region = RegionRows{mapping_->name, offset, row_stride};
  return matrix;
}

}  // namespace token_sampler::client
