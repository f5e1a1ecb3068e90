// The part of an IPv6 address that tells one subscriber from another.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_IPV6_NETWORK_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_IPV6_NETWORK_H_

#include <netinet/in.h>

#include <string>

namespace token_sampler {

// "2001:db8::/64": its first 64 bits, for one subscriber usually has all addresses that begin so.
std::string Ipv6Network(const in6_addr& address);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_IPV6_NETWORK_H_
