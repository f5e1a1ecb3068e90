// Builds HTTP/2 frames by hand.

#ifndef TOKEN_SAMPLER_TESTS_UNIT_LISTENER_FRAMES_H_
#define TOKEN_SAMPLER_TESTS_UNIT_LISTENER_FRAMES_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace token_sampler {

inline constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr uint8_t kData = 0;
inline constexpr uint8_t kHeaders = 1;
inline constexpr uint8_t kReset = 3;
inline constexpr uint8_t kSettings = 4;
inline constexpr uint8_t kPing = 6;
inline constexpr uint8_t kGoaway = 7;
inline constexpr uint8_t kWindowUpdate = 8;
inline constexpr uint8_t kContinuation = 9;
inline constexpr uint8_t kAck = 1;
inline constexpr uint8_t kEndHeaders = 4;
inline constexpr uint8_t kPadded = 8;

inline std::string Number(uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

inline std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                         const std::string& payload = "") {
  return absl::StrCat(Number(payload.size(), 3), Number(type, 1), Number(flags, 1),
                      Number(stream, 4), payload);
}

inline std::string Message(uint64_t announced, size_t sent) {
  return absl::StrCat(Number(0, 1), Number(announced, 4), std::string(sent, 'x'));
}

// The headers of a call.
inline std::string Begin(uint32_t stream) {
  return Frame(kHeaders, kEndHeaders, stream, "headers");
}

// Opens a window by `bytes`; stream 0 is the connection.
inline std::string Credit(uint32_t stream, uint32_t bytes) {
  return Frame(kWindowUpdate, 0, stream, Number(bytes, 4));
}

inline constexpr uint16_t kInitialWindow = 4;

inline std::string Setting(uint16_t name, uint32_t value) {
  return Number(name, 2) + Number(value, 4);
}

inline absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_UNIT_LISTENER_FRAMES_H_
