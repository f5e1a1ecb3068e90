// The descriptors that a process has, and those that it may have.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_DESCRIPTORS_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_DESCRIPTORS_H_

#include <cstdint>
#include <utility>

namespace token_sampler {

// Owns a descriptor; -1 is none.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

// Opens /dev/null in the place of each standard stream that is closed. Otherwise the next socket
// would get its number, and what is printed would go to a client. Call it before anything is
// opened.
void OpenStandardStreams();

// Raises this process's limit of descriptors as far as it may. Returns the limit.
uint64_t RaiseDescriptorLimit();

// How many connections fit into `descriptors`, at most `wanted`: each takes two, and `others`,
// which other things may take, are left to them, but never more than half.
uint64_t ConnectionsWithin(uint64_t descriptors, uint64_t others, uint64_t wanted);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_DESCRIPTORS_H_
