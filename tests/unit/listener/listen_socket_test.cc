// Tests addresses as text, and the file of a Unix socket.

#include "server/listener/listen_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;

TEST(ListenAddressTest, TakesHostsAndPaths) {
  EXPECT_EQ(ParseListenAddress("localhost:0")->host, "localhost");
  EXPECT_EQ(ParseListenAddress("[::1]:65535")->host, "::1");
  EXPECT_EQ(ParseListenAddress("[::1]:65535")->port, 65535);
  EXPECT_EQ(ParseListenAddress("unix:a")->path, "a");
  EXPECT_EQ(ParseListenAddress("unix:/a:0")->path, "/a:0");
  EXPECT_EQ(ParseListenAddress("unix:///a")->path, "/a");
}

TEST(ListenAddressTest, RefusesWhatIsNone) {
  for (const char* address : {"", "host", "host:", ":1", "::1:5", "unix:", "[]:1"}) {
    EXPECT_EQ(ParseListenAddress(address).status().message(),
              std::string("--listen must be host:port, [IPv6]:port or unix:/path, got \"") +
                  address + "\"");
  }
  EXPECT_EQ(ParseListenAddress("127.0.0.1:99999").status().message(),
            "--listen 127.0.0.1:99999: the port must be in [0, 65535], got \"99999\"");
  for (const char* address : {"h:-1", "h:+1", "h: 1", "h:http", "h:99999999999"}) {
    EXPECT_THAT(std::string(ParseListenAddress(address).status().message()),
                HasSubstr("the port must be in [0, 65535]"));
  }
  EXPECT_THAT(std::string(ParseListenAddress("unix:" + std::string(108, 'a')).status().message()),
              HasSubstr("must have at most 107 bytes, has 108"));
}

TEST(SocketModeTest, IsOctal) {
  EXPECT_EQ(*ParseSocketMode(""), std::nullopt);
  EXPECT_EQ(*ParseSocketMode("0660"), mode_t{0660});
  EXPECT_EQ(*ParseSocketMode("777"), mode_t{0777});
  for (const char* text : {"8", "1000", "rw", "-1"}) {
    EXPECT_EQ(ParseSocketMode(text).status().message(),
              std::string("--socket-mode must be in [0, 0777], in octal, got ") + text);
  }
}

class FolderTest : public ::testing::Test {
 protected:
  FolderTest() {
    std::string name = (std::filesystem::temp_directory_path() / "token-sampler-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    path_ = folder_ / "socket";
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<Listening> ListenHere(const SocketAccess& access = {}) {
    return Listen("unix:" + path_, access);
  }

  bool IsEmpty() const { return std::filesystem::is_empty(folder_); }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(FolderTest, ASocketIsOneServersAndLeavesNothing) {
  {
    const auto first = ListenHere();
    ASSERT_TRUE(first.ok()) << first.status();
    const absl::Status second = ListenHere().status();
    EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(second.message(), "--listen unix:" + path_ + ": another server listens there");
    EXPECT_TRUE(std::filesystem::is_socket(path_));
  }
  EXPECT_TRUE(IsEmpty());
}

// If two servers start at the same time and find the same stale socket, one gets it.
TEST_F(FolderTest, AStaleSocketIsTakenOnce) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path_.c_str(), sizeof(name.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  close(fd);
  absl::StatusOr<SocketPath> first = SocketPath::Take(path_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(SocketPath::Take(path_).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(first->Listen({}).ok());
}

TEST_F(FolderTest, DoesNotRemoveTheSocketOfAnother) {
  {
    const auto first = ListenHere();
    ASSERT_TRUE(first.ok());
    std::filesystem::remove(path_);
    std::ofstream(path_) << "another's";
  }
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(FolderTest, LeavesAFileAlone) {
  std::ofstream(path_) << "precious";
  const absl::Status status = ListenHere().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("exists and is not a socket"));
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(FolderTest, TheSocketHasTheModeThatIsAsked) {
  for (const mode_t mode : {0600u, 0666u}) {
    const auto listening = ListenHere({.mode = mode, .group = std::to_string(getgid())});
    ASSERT_TRUE(listening.ok()) << listening.status();
    struct stat info;
    ASSERT_EQ(stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, mode);
    EXPECT_EQ(info.st_gid, getgid());
  }
  EXPECT_EQ(ListenHere({.mode = {}, .group = "no such group"}).status().message(),
            "--socket-group must be a group of this machine, got no such group");
  EXPECT_TRUE(IsEmpty());
}

TEST(TcpTest, NamesAnAddressThatIsTaken) {
  const auto first = Listen("127.0.0.1:0", {});
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = Listen(first->address, {}).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second.message(), "cannot listen on " + first->address + ": Address already in use");
}

TEST(TcpTest, AnyAddressIsOfBothFamilies) {
  for (const char* host : {"0.0.0.0", "[::]"}) {
    const auto listening = Listen(absl::StrCat(host, ":0"), {});
    ASSERT_TRUE(listening.ok()) << listening.status();
    sockaddr_storage bound = {};
    socklen_t size = sizeof(bound);
    ASSERT_EQ(getsockname(listening->sockets[0].get(), reinterpret_cast<sockaddr*>(&bound), &size),
              0);
    // The port of an IPv6 address is in the same place.
    sockaddr_in loopback = {};
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loopback.sin_port = reinterpret_cast<const sockaddr_in&>(bound).sin_port;
    const Descriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&loopback), sizeof(loopback)), 0);
  }
}

TEST_F(FolderTest, AnAddressFileHoldsOneAddressPerLine) {
  ASSERT_TRUE(WriteAddressFile(path_, {"127.0.0.1:5", "unix:/s"}).ok());
  std::stringstream text;
  text << std::ifstream(path_).rdbuf();
  EXPECT_EQ(text.str(), "127.0.0.1:5\nunix:/s\n");
  EXPECT_TRUE(WriteAddressFile(path_, {"127.0.0.1:6"}).ok());
  EXPECT_EQ(WriteAddressFile("/nonexistent/file", {"a"}).message(),
            "--address-file: cannot write /nonexistent/file: No such file or directory");
}

TEST_F(FolderTest, AnAddressFileReplacesNothingElseThanAFile) {
  EXPECT_EQ(WriteAddressFile(folder_.string(), {"a"}).message(),
            "--address-file: " + folder_.string() + " exists and is not a regular file");
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(WriteAddressFile(path_, {"a"}).ok());
  EXPECT_TRUE(std::filesystem::is_fifo(path_));
}

TEST(BoundAddressTest, PutsTheRealPortInPlaceOfZero) {
  EXPECT_EQ(BoundAddress("127.0.0.1:0", 4711), "127.0.0.1:4711");
  EXPECT_EQ(BoundAddress("[::1]:0", 4711), "[::1]:4711");
  EXPECT_EQ(BoundAddress("127.0.0.1:50", 50), "127.0.0.1:50");
  EXPECT_EQ(BoundAddress("unix:/a:0", 1), "unix:/a:0");
}

}  // namespace
}  // namespace token_sampler
