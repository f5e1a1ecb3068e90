// The descriptors that the process holds, and how many it may have.

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

// Opens /dev/null in place of each closed standard stream. Otherwise the next socket would get its
// number, and printed text would go to a client. Call it before opening anything.
void OpenStandardStreams();

// Raises the process's limit of descriptors as far as allowed. Returns the limit.
uint64_t RaiseDescriptorLimit();

// How many connections fit into `descriptors`, at most `wanted`. Each takes two. `others`
// descriptors, but never more than half, are left for other uses.
uint64_t ConnectionsWithin(uint64_t descriptors, uint64_t others, uint64_t wanted);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_DESCRIPTORS_H_
