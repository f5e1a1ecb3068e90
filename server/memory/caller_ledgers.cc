#include "server/memory/caller_ledgers.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace token_sampler {
namespace {

// Enough that few callers meet in one.
constexpr size_t kLedgers = 256;

}  // namespace

std::string CallerOf(absl::string_view peer) {
  if (absl::StartsWith(peer, "unix")) return std::string(peer);
  absl::string_view address = peer.substr(0, peer.rfind(':'));
  if (!absl::ConsumePrefix(&address, "ipv6:")) return std::string(address);
  // gRPC escapes the brackets, and a zone goes behind a %.
  std::string plain =
      absl::StrReplaceAll(address, {{"%5B", ""}, {"%5D", ""}, {"[", ""}, {"]", ""}});
  plain.resize(std::min(plain.size(), plain.find('%')));
  in6_addr parsed = {};
  if (inet_pton(AF_INET6, plain.c_str(), &parsed) != 1) return std::string(address);
  // An IPv4 address in the form of IPv6 is a machine's of its own.
  const size_t bytes = IN6_IS_ADDR_V4MAPPED(&parsed) ? 16 : 8;
  return "ipv6:" + std::string(reinterpret_cast<const char*>(parsed.s6_addr), bytes);
}

CallerLedgers::CallerLedgers(Ledger& all) {
  const uint64_t share = all.budget() - all.budget() / 4;
  for (size_t i = 0; i < kLedgers; ++i) ledgers_.emplace_back(share, &all);
}

Ledger& CallerLedgers::Of(absl::string_view peer) {
  return ledgers_[absl::Hash<std::string>()(CallerOf(peer)) % kLedgers];
}

}  // namespace token_sampler
