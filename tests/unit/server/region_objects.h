// Objects that tests register as regions, and callers who register them.

#ifndef TOKEN_SAMPLER_TESTS_UNIT_SERVER_REGION_OBJECTS_H_
#define TOKEN_SAMPLER_TESTS_UNIT_SERVER_REGION_OBJECTS_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/calls/call_identity.h"
#include "server/regions/region_registry.h"

namespace token_sampler {

// Make the callers of tests: a user, such as that of this process, who owns the objects, or a
// client by address.
inline CallIdentity User(uint32_t user, int connection = 1) {
  return IdentityOfPeer(absl::StrCat("unix:", user, "/", connection));
}
inline CallIdentity Me() { return User(geteuid()); }
inline CallIdentity At(const std::string& peer) { return IdentityOfPeer(peer); }

// A shared-memory object of this process, in which byte i is at first i modulo 251.
class Object {
 public:
  explicit Object(size_t size, const std::string& name = "")
      : key_(absl::StrCat("/token-sampler-test-", getpid(), name)) {
    shm_unlink(key_.c_str());
    fd_ = shm_open(key_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
    EXPECT_EQ(pwrite(fd_, bytes.data(), size, 0), static_cast<ssize_t>(size));
  }

  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  ~Object() {
    close(fd_);
    shm_unlink(key_.c_str());
  }

  void Truncate(size_t size) const { ASSERT_EQ(ftruncate(fd_, static_cast<off_t>(size)), 0); }
  void Unlink() const { ASSERT_EQ(shm_unlink(key_.c_str()), 0); }
  const std::string& key() const { return key_; }
  int fd() const { return fd_; }

 private:
  std::string key_;
  int fd_;
};

inline RegionOptions SystemOptions() {
  RegionOptions options;
  options.kinds = "system";
  return options;
}

inline SystemRegionRequest Whole(const Object& object, uint64_t size) {
  return {.key = object.key(), .offset = 0, .byte_size = size};
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_UNIT_SERVER_REGION_OBJECTS_H_
