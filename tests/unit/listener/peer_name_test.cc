#include "server/listener/peer_name.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/listener/connection_table.h"
#include "server/listener/descriptors.h"

namespace token_sampler {
namespace {

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  return address;
}

class PeerNameTest : public ::testing::Test {
 protected:
  PeerNameTest() {
    std::string folder = ::testing::TempDir() + "peer-name-XXXXXX";
    folder_ = mkdtemp(folder.data());
    const sockaddr_un address = AddressOf(folder_ / "socket");
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
  }
  ~PeerNameTest() override { std::filesystem::remove_all(folder_); }

  // Connects a client whose own socket has the path, if it is not empty.
  Descriptor Connect(const std::string& path = "") {
    Descriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un own = AddressOf(path);
    if (!path.empty()) {
      EXPECT_EQ(bind(client.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)), 0);
    }
    const sockaddr_un address = AddressOf(folder_ / "socket");
    EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    return client;
  }

  Descriptor Accept() { return Descriptor(accept(listener_.get(), nullptr, nullptr)); }

  // Returns the path that getpeername reports when gRPC calls it.
  static std::string NameOf(const Descriptor& connection) {
    sockaddr_un address = {};
    socklen_t size = sizeof(address);
    EXPECT_EQ(getpeername(connection.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    EXPECT_EQ(address.sun_family, AF_UNIX);
    EXPECT_EQ(size, offsetof(sockaddr_un, sun_path) + std::strlen(address.sun_path) + 1);
    return address.sun_path;
  }

  std::filesystem::path folder_;
  Descriptor listener_{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

TEST_F(PeerNameTest, TellsTheUserAndEachConnectionApart) {
  const Descriptor clients[] = {Connect(), Connect()};
  const Descriptor first = Accept();
  const Descriptor second = Accept();
  const std::string user = absl::StrCat(geteuid(), "/");
  EXPECT_EQ(NameOf(first).substr(0, user.size()), user);
  EXPECT_EQ(NameOf(second).substr(0, user.size()), user);
  EXPECT_NE(NameOf(first), NameOf(second));
  EXPECT_EQ(NameOf(first), NameOf(first));
  const Peer peer = Peer::Of(first.get());
  EXPECT_EQ(peer.group, absl::StrCat("user ", geteuid()));
  EXPECT_EQ(peer.name, "unix:" + NameOf(first));
}

TEST_F(PeerNameTest, TakesNoNameFromTheClient) {
  std::filesystem::create_directory(folder_ / "4711");
  const Descriptor client = Connect(folder_ / "4711" / "1");
  const Descriptor connection = Accept();
  const std::string user = absl::StrCat(geteuid(), "/");
  EXPECT_EQ(NameOf(connection).substr(0, user.size()), user);
  EXPECT_EQ(NameOf(connection).find("4711/"), std::string::npos);
}

TEST_F(PeerNameTest, WritesNoMoreThanThereIsRoomFor) {
  const Descriptor client = Connect();
  const Descriptor connection = Accept();
  char bytes[sizeof(sockaddr_un)];
  std::memset(bytes, 'x', sizeof(bytes));
  socklen_t size = sizeof(sa_family_t) + 1;
  ASSERT_EQ(PeerName(connection.get(), reinterpret_cast<sockaddr*>(bytes), &size), 0);
  EXPECT_GT(size, sizeof(sa_family_t) + 1);
  EXPECT_EQ(bytes[sizeof(sa_family_t) + 1], 'x');
}

TEST_F(PeerNameTest, LeavesOtherAddressesAlone) {
  const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const Descriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  sockaddr_in named = {};
  size = sizeof(named);
  ASSERT_EQ(getpeername(client.get(), reinterpret_cast<sockaddr*>(&named), &size), 0);
  EXPECT_EQ(named.sin_port, address.sin_port);
  EXPECT_EQ(getpeername(listener.get(), reinterpret_cast<sockaddr*>(&named), &size), -1);
  EXPECT_EQ(errno, ENOTCONN);
}

}  // namespace
}  // namespace token_sampler
