// The part of an IPv6 address that distinguishes subscribers.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_IPV6_NETWORK_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_IPV6_NETWORK_H_

#include <netinet/in.h>

#include <string>

namespace token_sampler {

// The first 64 bits of the address, as "2001:db8::/64": one subscriber usually has all addresses
// that begin with them.
std::string Ipv6Network(const in6_addr& address);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_IPV6_NETWORK_H_
