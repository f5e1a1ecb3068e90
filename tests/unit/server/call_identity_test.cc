#include "server/calls/call_identity.h"

#include <gtest/gtest.h>

namespace token_sampler {
namespace {

TEST(CallIdentityTest, ConnectionsOfAnAddressAreOneClient) {
  const CallIdentity a = IdentityOfPeer("ipv4:10.1.2.3:50000");
  const CallIdentity b = IdentityOfPeer("ipv4:10.1.2.3:50001");
  EXPECT_EQ(a.client, "ipv4:10.1.2.3");
  EXPECT_EQ(a.client, b.client);
  EXPECT_NE(a.connection, b.connection);
  EXPECT_NE(a.client, IdentityOfPeer("ipv4:10.1.2.4:50000").client);
}

TEST(CallIdentityTest, ASiteWithManyIpv6AddressesIsOneClient) {
  const std::string client = IdentityOfPeer("ipv6:[2001:db8::1]:50000").client;
  EXPECT_EQ(IdentityOfPeer("ipv6:%5B2001:db8:0:0:ffff::2%5D:1").client, client);
  EXPECT_NE(IdentityOfPeer("ipv6:[2001:db8:0:1::1]:50000").client, client);
  EXPECT_EQ(IdentityOfPeer("ipv6:%5Bfe80::1%25eth0%5D:1").client,
            IdentityOfPeer("ipv6:%5Bfe80::2%25eth0%5D:2").client);
  EXPECT_NE(IdentityOfPeer("ipv6:[::ffff:10.1.2.3]:1").client,
            IdentityOfPeer("ipv6:[::ffff:10.1.2.4]:1").client);
}

TEST(CallIdentityTest, AUserOfUnixSocketsIsOneClient) {
  const CallIdentity a = IdentityOfPeer("unix:1000/17");
  const CallIdentity b = IdentityOfPeer("unix:1000/18");
  EXPECT_EQ(a.client, "unix:1000");
  EXPECT_EQ(a.client, b.client);
  EXPECT_EQ(a.connection, "unix:1000/17");
  EXPECT_NE(a.connection, b.connection);
  EXPECT_NE(a.client, IdentityOfPeer("unix:100/17").client);
}

TEST(CallIdentityTest, NamesOfClientsAreThoseOfTheirPeers) {
  EXPECT_EQ(*ParseClientName("ipv4:10.1.2.3"), IdentityOfPeer("ipv4:10.1.2.3:5").client);
  const std::string site = IdentityOfPeer("ipv6:[2001:db8::1]:5").client;
  for (const char* name : {"ipv6:2001:db8::1", "ipv6:2001:db8::/64", "ipv6:[2001:db8::2]"}) {
    EXPECT_EQ(*ParseClientName(name), site);
  }
  EXPECT_EQ(*ParseClientName("unix:1000"), IdentityOfPeer("unix:1000/17").client);
  for (const char* name :
       {"", "10.1.2.3", "ipv4:10.1.2", "ipv4:10.1.2.3:50", "ipv4:10.1.2.0/24", "ipv6:2001:db8::/48",
        "ipv6:10.1.2.3", "unix:", "unix:/run/a", "unix:-1", "unix:4294967296", "name"}) {
    EXPECT_EQ(ParseClientName(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

}  // namespace
}  // namespace token_sampler
