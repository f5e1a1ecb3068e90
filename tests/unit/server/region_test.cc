// Tests regions without a network: what can be registered, what is read, and which errors an owner
// who misbehaves gets. The objects are real ones of this machine.

#include "server/regions/region.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/regions/guarded_mapping.h"
#include "server/regions/region_registry.h"
#include "server/regions/region_rows.h"
#include "server/regions/system_region.h"
#include "tests/unit/server/region_objects.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

absl::Status ReadAll(const Region& region, size_t size) {
  std::string bytes(size, '\0');
  const RowBlock block = {.offset = 0, .rows = 1, .row_bytes = size, .stride = size};
  if (absl::Status status = region.CheckBlock(block); !status.ok()) return status;
  return region.Read(0, size, bytes.data());
}

TEST(RegionTest, ReadsBehindItsOffset) {
  const Object object(1000);
  const auto region = SystemRegion::Open(object.key(), 100, 800);
  ASSERT_TRUE(region.ok()) << region.status();
  std::string bytes(4, '\0');
  ASSERT_TRUE((*region)->Read(20, 4, bytes.data()).ok());
  const std::vector<uint8_t> expected = {120, 121, 122, 123};
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.end()), expected);
}

TEST(RegionTest, BlocksMustLieInsideAndMayFillTheRegion) {
  const Object object(1000);
  const auto region = SystemRegion::Open(object.key(), 0, 1000);
  ASSERT_TRUE(region.ok());
  EXPECT_TRUE((*region)->CheckBlock({0, 10, 100, 100}).ok());
  EXPECT_TRUE((*region)->CheckBlock({100, 9, 100, 100}).ok());
  for (const RowBlock& block : {
           RowBlock{1, 10, 100, 100},
           RowBlock{0, 11, 100, 100},
           RowBlock{0, 10, 100, 101},
           RowBlock{0, 1, 1001, 1001},
           RowBlock{kMax, 1, 100, 100},
           RowBlock{kMax - 50, 1, 100, 100},
           RowBlock{0, 2, 100, kMax - 99},
           RowBlock{0, 2, 100, kMax},
           RowBlock{0, kMax, 100, 100},
           RowBlock{0, uint64_t{1} << 32, 100, uint64_t{1} << 32},
           RowBlock{0, 1, kMax, kMax},
       }) {
    const absl::Status status = (*region)->CheckBlock(block);
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << block.offset << " " << block.rows;
  }
  EXPECT_EQ((*region)->CheckBlock({50, 10, 100, 100}).message(),
            "10 rows of 100 bytes, one every 100 bytes, must lie inside the region of 1000 bytes "
            "from offset 50 on");
}

TEST(RegionTest, SizesThatTheObjectDoesNotHaveAreRefused) {
  const Object object(1000);
  for (const auto& [offset, size] : std::vector<std::pair<uint64_t, uint64_t>>{{0, 1001},
                                                                               {1, 1000},
                                                                               {1000, 1},
                                                                               {kMax, 1},
                                                                               {kMax, 1000},
                                                                               {1, kMax},
                                                                               {kMax - 998, 999}}) {
    const auto region = SystemRegion::Open(object.key(), offset, size);
    EXPECT_EQ(region.status().code(), absl::StatusCode::kOutOfRange) << offset << " " << size;
    EXPECT_THAT(std::string(region.status().message()), HasSubstr("the 1000 bytes of"));
  }
}

TEST(RegionTest, WritesInsideTheObjectAlone) {
  const Object object(1000);
  const auto region = SystemRegion::Open(object.key(), 100, 900);
  ASSERT_TRUE(region.ok()) << region.status();
  ASSERT_TRUE((*region)->Write(10, "token").ok());
  std::string bytes(7, '\0');
  ASSERT_TRUE((*region)->Read(9, 7, bytes.data()).ok());
  EXPECT_EQ(bytes.substr(1, 5), "token");
  object.Truncate(105);
  EXPECT_EQ((*region)->Write(10, "token").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::filesystem::file_size("/dev/shm/" + object.key().substr(1)), 105u);
  object.Unlink();
  EXPECT_EQ((*region)->Write(10, "token").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(RegionTest, ATruncatedObjectIsAnErrorAndNoSignal) {
  const Object object(1 << 20);
  const auto region = SystemRegion::Open(object.key(), 0, 1 << 20);
  ASSERT_TRUE(region.ok());
  ASSERT_TRUE(ReadAll(**region, 1 << 20).ok());
  for (const size_t size : {size_t{(1 << 20) - 1}, size_t{4096}, size_t{0}}) {
    object.Truncate(size);
    const absl::Status status = ReadAll(**region, 1 << 20);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << size;
    EXPECT_THAT(std::string(status.message()), HasSubstr("was truncated below the 1048576 bytes"));
  }
}

TEST(RegionTest, ACopyThatMeetsTheEndFailsAndSoDoLaterOnes) {
  const Object object(1 << 16);
  const int fd = shm_open(object.key().c_str(), O_RDONLY, 0);
  const auto mapping = GuardedMapping::Create(fd, 100, 60'000);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  std::string bytes(60'000, '\0');
  EXPECT_TRUE((*mapping)->Copy(0, 60'000, bytes.data()));
  EXPECT_EQ(bytes[5], static_cast<char>(105));
  object.Truncate(8192);
  EXPECT_TRUE((*mapping)->Copy(0, 8000, bytes.data()));
  EXPECT_FALSE((*mapping)->Copy(0, 60'000, bytes.data()));
  EXPECT_FALSE((*mapping)->Copy(0, 1, bytes.data()));
  close(fd);
}

TEST(RegionTest, ReadersLiveThroughTruncationsAtAnyTime) {
  const Object object(1 << 16);
  std::vector<std::thread> readers;
  std::atomic<int> broken = 0;
  constexpr int kReaders = 3;
  for (int reader = 0; reader < kReaders; ++reader) {
    readers.emplace_back([&] {
      const int fd = shm_open(object.key().c_str(), O_RDONLY, 0);
      const auto mapping = GuardedMapping::Create(fd, 0, 1 << 16);
      std::string bytes(1 << 16, '\0');
      while ((*mapping)->Copy(0, bytes.size(), bytes.data())) {
      }
      ++broken;
      close(fd);
    });
  }
  while (broken < kReaders) {
    object.Truncate(100);
    object.Truncate(1 << 16);
  }
  for (std::thread& reader : readers) reader.join();
}

using RegionDeathTest = ::testing::Test;

TEST_F(RegionDeathTest, ABusErrorOfSomebodyElseEndsTheProcess) {
  const Object object(8192);
  const int fd = shm_open(object.key().c_str(), O_RDONLY, 0);
  const auto mapping = GuardedMapping::Create(fd, 0, 8192);
  const void* other = mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd, 0);
  object.Truncate(0);
  EXPECT_DEATH(static_cast<void>(*static_cast<const volatile char*>(other)), "");
  munmap(const_cast<void*>(other), 8192);
  close(fd);
}

TEST(RegionTest, AnUnlinkedObjectIsAnError) {
  const Object object(1000);
  const auto region = SystemRegion::Open(object.key(), 0, 1000);
  ASSERT_TRUE(region.ok());
  object.Unlink();
  const absl::Status status = ReadAll(**region, 1000);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("was unlinked or replaced"));
}

TEST(RegionTest, AnObjectThatIsReplacedIsAnErrorNotTheNewOnesBytes) {
  const Object object(1000);
  const auto region = SystemRegion::Open(object.key(), 0, 1000);
  ASSERT_TRUE(region.ok());
  object.Unlink();
  const int fd = shm_open(object.key().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, 1000), 0);
  EXPECT_EQ(ReadAll(**region, 1000).code(), absl::StatusCode::kFailedPrecondition);
  close(fd);
  shm_unlink(object.key().c_str());
}

TEST(RegionTest, OnlyPlainObjectsAreOpened) {
  const absl::Status absent = SystemRegion::Open("/token-sampler-test-none", 0, 1).status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(absent.message(),
            "key \"/token-sampler-test-none\" cannot be opened: No such file or directory");
  const std::string fifo = absl::StrCat("/dev/shm/token-sampler-test-fifo-", getpid());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto opened = SystemRegion::Open(fifo.substr(sizeof("/dev/shm") - 1), 0, 1);
  unlink(fifo.c_str());
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(opened.status().message(), absl::StrCat("key \"/token-sampler-test-fifo-", getpid(),
                                                    "\" must name a shared-memory object"));
  const std::string link = absl::StrCat("/dev/shm/token-sampler-test-link-", getpid());
  ASSERT_EQ(symlink("/etc/passwd", link.c_str()), 0);
  const absl::Status linked =
      SystemRegion::Open(link.substr(sizeof("/dev/shm") - 1), 0, 1).status();
  unlink(link.c_str());
  EXPECT_EQ(linked.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(linked.message(),
            absl::StrCat("key \"/token-sampler-test-link-", getpid(),
                         "\" cannot be opened: Too many levels of symbolic links"));
}

// Opens the object with this mode, as a user to whom the mode applies.
absl::StatusOr<std::shared_ptr<SystemRegion>> OpenWithMode(const Object& object, mode_t mode) {
  EXPECT_EQ(chmod(("/dev/shm" + object.key()).c_str(), mode), 0);
  constexpr uid_t kNobody = 65534;
  const bool root = geteuid() == 0;  // to whom no mode applies
  if (root) {
    EXPECT_EQ(seteuid(kNobody), 0);
  }
  auto region = SystemRegion::Open(object.key(), 0, 100);
  if (root) {
    EXPECT_EQ(seteuid(0), 0);
  }
  return region;
}

TEST(RegionTest, WhatTheServerMayOnlyReadIsNotWritten) {
  const Object object(1000);
  const auto region = OpenWithMode(object, 0444);
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_TRUE(ReadAll(**region, 100).ok());
  const absl::Status status = (*region)->Write(10, "token");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(status.message(),
            absl::StrCat("object \"", object.key(), "\" is read-only for the server"));
}

TEST(RegionTest, WhatTheServerMayNotReadIsNotOpened) {
  const Object object(1000);
  const absl::Status status = OpenWithMode(object, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(status.message(),
            absl::StrCat("key \"", object.key(), "\" cannot be opened: Permission denied"));
}

TEST(RegionRegistryTest, IsOffByDefault) {
  const Object object(1000);
  RegionRegistry regions{RegionOptions()};
  EXPECT_EQ(regions.Register("a", Whole(object, 1000), Me()),
            absl::FailedPreconditionError(
                "shared memory is off: start the server with --shared-memory=system"));
}

TEST(RegionRegistryTest, AKindThatIsOffIsNamed) {
  const Object object(1000);
  CudaRegionRequest cuda;
  cuda.handle = std::string(64, 'h');
  cuda.byte_size = 1;
  RegionRegistry system(SystemOptions());
  absl::Status status = system.Register("a", cuda, Me());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "regions of kind cuda are off: the server was started with --shared-memory=system");
  RegionRegistry of_cuda(RegionOptions{.kinds = "cuda"});
  status = of_cuda.Register("a", Whole(object, 1000), Me());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "regions of kind system are off: the server was started with --shared-memory=cuda");
}

TEST(RegionRegistryTest, OnlyLocalPeersMay) {
  for (const char* peer : {"unix:1000/1", "ipv4:127.0.0.1:80", "ipv6:[::1]:80", "ipv6:%5B::1%5D:80",
                           "ipv6:[::ffff:127.0.0.1]:80"}) {
    EXPECT_FALSE(RegionRegistry::IsRemote(At(peer))) << peer;
  }
  const Object object(1000);
  RegionRegistry regions(SystemOptions());
  for (const char* peer : {"ipv4:10.0.0.1:80", "ipv6:[fe80::1]:80", "ipv6:[::ffff:10.0.0.1]:80",
                           "ipv4:1127.0.0.1:80", "vsock:1", ""}) {
    const absl::Status status = regions.Register("a", Whole(object, 1000), At(peer));
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << peer;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--shared-memory-peers=any"));
  }
  RegionOptions any = SystemOptions();
  any.peers = "any";
  RegionRegistry open(any);
  EXPECT_TRUE(open.Register("a", Whole(object, 1000), At("ipv4:10.0.0.1:80")).ok());
}

TEST(RegionRegistryTest, KeysStayUnderThePrefixAndHaveNoPath) {
  RegionRegistry regions(SystemOptions());
  const auto status_of = [&](const std::string& key) {
    return regions.Register("a", SystemRegionRequest{.key = key, .byte_size = 1}, Me()).code();
  };
  for (const std::string& key :
       {std::string("/other"), std::string("other"), std::string("psm_token-sampler-x")}) {
    EXPECT_EQ(status_of(key), absl::StatusCode::kPermissionDenied) << key;
  }
  for (const std::string& key :
       {std::string(), std::string("/"), std::string("//token-sampler-x"),
        std::string("token-sampler-x/../../etc/passwd"), std::string("/token-sampler-/x"),
        std::string("token-sampler-x\0y", 17), std::string("token-sampler-\xff"),
        std::string(300, 'a')}) {
    EXPECT_EQ(status_of(key), absl::StatusCode::kInvalidArgument) << key;
  }
  EXPECT_EQ(status_of("token-sampler-none"), absl::StatusCode::kNotFound);
  RegionOptions any = SystemOptions();
  any.prefix = "/";
  RegionRegistry of_any(any);
  EXPECT_EQ(
      of_any.Register("a", SystemRegionRequest{.key = "/token-other", .byte_size = 1}, Me()).code(),
      absl::StatusCode::kNotFound);
}

TEST(RegionRegistryTest, NamesAreTakenOnceAndSizesAreNotZero) {
  const Object object(1000);
  RegionRegistry regions(SystemOptions());
  ASSERT_TRUE(regions.Register("a", Whole(object, 1000), Me()).ok());
  EXPECT_EQ(regions.Register("a", Whole(object, 1000), Me()),
            absl::AlreadyExistsError("a region \"a\" is registered"));
  EXPECT_EQ(regions.Register("", Whole(object, 1000), Me()),
            absl::InvalidArgumentError("name must have 1 .. 255 bytes, got 0"));
  EXPECT_EQ(regions.Register(std::string(256, 'n'), Whole(object, 1000), Me()),
            absl::InvalidArgumentError("name must have 1 .. 255 bytes, got 256"));
  EXPECT_EQ(regions.Register("b", Whole(object, 0), Me()),
            absl::InvalidArgumentError("byte_size must be above 0"));
  const absl::Status unknown = absl::NotFoundError("no region \"b\" is registered");
  EXPECT_EQ(regions.Find("b", Me()).status(), unknown);
  EXPECT_EQ(regions.Unregister("b", Me(), [] { FAIL(); }), unknown);
}

TEST(SystemRegionTest, ReadingHolesAllocatesNothing) {
  constexpr size_t kBytes = size_t{1} << 20;
  const Object object(100);
  object.Truncate(kBytes);
  const auto allocated = [&] {
    struct stat info;
    EXPECT_EQ(stat(absl::StrCat("/dev/shm", object.key()).c_str(), &info), 0);
    return info.st_blocks;
  };
  const auto before = allocated();
  const auto region = SystemRegion::Open(object.key(), 0, kBytes);
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_TRUE((*region)->HasHoles(0, kBytes));
  EXPECT_FALSE((*region)->HasHoles(0, 100));
  std::string bytes(kBytes, 'x');
  ASSERT_TRUE((*region)->Read(0, kBytes, bytes.data()).ok());
  EXPECT_EQ(bytes[99], 99);
  EXPECT_EQ(bytes.substr(100), std::string(kBytes - 100, '\0'));
  const RowBlock block = {.offset = 0, .rows = 4, .row_bytes = 1000, .stride = kBytes / 4};
  const RegionRows rows(*region, block, "tensor.region");
  ASSERT_TRUE(rows.Read(kBytes / 2, 1000, bytes.data()).ok());
  EXPECT_EQ(allocated(), before);
  object.Truncate(100);
  EXPECT_EQ(rows.Read(kBytes / 2, 1000, bytes.data()).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(RegionRegistryTest, ObjectsOfOneUserLeaveRoomForThoseOfOthers) {
  const Object object(1000);
  RegionOptions options = SystemOptions();
  options.max_regions_per_owner = 2;
  RegionRegistry regions(options);
  ASSERT_TRUE(regions.Register("a", Whole(object, 1000), At("ipv4:127.0.0.1:1")).ok());
  ASSERT_TRUE(regions.Register("b", Whole(object, 1000), At("ipv4:127.0.0.1:2")).ok());
  const absl::Status status = regions.Register("c", Whole(object, 1000), At("ipv4:127.0.0.1:3"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--max-regions-per-owner"));
  if (geteuid() != 0) GTEST_SKIP() << "only root can have an object of another user";
  const Object others(1000, "others");
  ASSERT_EQ(chown(absl::StrCat("/dev/shm", others.key()).c_str(), 65534, 65534), 0);
  ASSERT_EQ(chmod(absl::StrCat("/dev/shm", others.key()).c_str(), 0644), 0);
  EXPECT_TRUE(regions.Register("c", Whole(others, 1000), At("ipv4:127.0.0.1:3")).ok());
}

TEST(RegionRegistryTest, IdleRegionsOfConnectionsThatAreGoneMakeRoom) {
  const Object object(1000);
  RegionOptions options = SystemOptions();
  options.max_regions = 2;
  options.connected = [](const std::string& connection) {
    return connection != "ipv4:127.0.0.1:1";
  };
  RegionRegistry regions(options);
  ASSERT_TRUE(regions.Register("a", Whole(object, 1000), At("ipv4:127.0.0.1:1")).ok());
  ASSERT_TRUE(regions.Register("b", Whole(object, 1000), At("ipv4:127.0.0.1:2")).ok());
  auto reader = *regions.Find("a", At("ipv4:127.0.0.1:1"));
  EXPECT_FALSE(regions.Register("c", Whole(object, 1000), At("ipv4:127.0.0.1:2")).ok());
  reader.reset();
  EXPECT_TRUE(regions.Register("c", Whole(object, 1000), At("ipv4:127.0.0.1:2")).ok());
  EXPECT_FALSE(regions.Find("a", At("ipv4:127.0.0.1:1")).ok());
  EXPECT_TRUE(regions.Find("b", At("ipv4:127.0.0.1:1")).ok());
}

TEST(RegionRegistryTest, QuotasHoldPerPeerAndInAll) {
  const Object object(1000);
  RegionOptions options = SystemOptions();
  options.max_regions_per_peer = 2;
  options.max_regions = 3;
  RegionRegistry regions(options);
  ASSERT_TRUE(regions.Register("a", Whole(object, 1000), At("ipv4:127.0.0.1:1")).ok());
  ASSERT_TRUE(regions.Register("b", Whole(object, 1000), At("ipv4:127.0.0.1:1")).ok());
  absl::Status status = regions.Register("c", Whole(object, 1000), At("ipv4:127.0.0.1:1"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("this connection has 2 regions"));
  ASSERT_TRUE(regions.Register("c", Whole(object, 1000), At("ipv4:127.0.0.1:2")).ok());
  status = regions.Register("d", Whole(object, 1000), At("ipv4:127.0.0.1:3"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the server has 3 regions"));
}

// The object of a client that ended without unregistering is gone: the client or somebody else
// removed it.
TEST(RegionRegistryTest, IdleRegionsWhoseObjectIsGoneDoNotCount) {
  RegionOptions options = SystemOptions();
  options.max_regions_per_peer = 3;
  options.max_regions = 3;
  RegionRegistry regions(options);
  const Object stays(1000, "stays");
  {
    const Object gone(1000, "gone");
    const Object read(1000, "read");
    ASSERT_TRUE(regions.Register("stays", Whole(stays, 1000), Me()).ok());
    ASSERT_TRUE(regions.Register("gone", Whole(gone, 1000), Me()).ok());
    ASSERT_TRUE(regions.Register("read", Whole(read, 1000), Me()).ok());
  }
  auto reader = *regions.Find("read", Me());
  const auto names = [&] {
    std::vector<std::string> listed;
    for (const auto& region : regions.List(Me())) listed.push_back(region.name);
    return listed;
  };
  const std::vector<std::string> before = {"gone", "read", "stays"};
  EXPECT_EQ(names(), before);
  EXPECT_TRUE(regions.Register("new", Whole(stays, 1000), Me()).ok());
  const std::vector<std::string> after = {"new", "read", "stays"};
  EXPECT_EQ(names(), after);
  EXPECT_EQ(regions.Register("more", Whole(stays, 1000), Me()).code(),
            absl::StatusCode::kResourceExhausted);
  reader.reset();
  EXPECT_TRUE(regions.Register("more", Whole(stays, 1000), At("ipv4:127.0.0.1:1")).ok());
  EXPECT_EQ(regions.Find("read", Me()).status().code(), absl::StatusCode::kNotFound);
}

TEST(RegionRegistryTest, UnregisterWaitsForReadersButNotForTheName) {
  const Object object(1000);
  RegionRegistry regions(SystemOptions());
  ASSERT_TRUE(regions.Register("a", Whole(object, 1000), Me()).ok());
  auto reader = *regions.Find("a", Me());
  EXPECT_EQ(regions.List(Me()).at(0).calls_in_flight, 1u);
  bool released = false;
  ASSERT_TRUE(regions.Unregister("a", Me(), [&] { released = true; }).ok());
  EXPECT_FALSE(released);
  EXPECT_EQ(regions.Find("a", Me()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(ReadAll(*reader, 1000).ok());
  ASSERT_TRUE(regions.Register("a", Whole(object, 1000), Me()).ok());
  reader.reset();
  EXPECT_TRUE(released);
  EXPECT_EQ(regions.Unregister("b", Me(), [] { FAIL(); }).code(), absl::StatusCode::kNotFound);
}

TEST(RegionRegistryTest, UnregisterAllIsThatOfThePeerAndEndsOnce) {
  const Object object(1000);
  RegionRegistry regions(SystemOptions());
  const CallIdentity one = At("ipv4:127.0.0.1:1");
  const CallIdentity two = At("ipv4:127.0.0.1:2");
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(regions.Register(name, Whole(object, 1000), one).ok());
  }
  ASSERT_TRUE(regions.Register("c", Whole(object, 1000), two).ok());
  auto reader = *regions.Find("b", two);
  int released = 0;
  regions.UnregisterAll(one, [&] { ++released; });
  EXPECT_EQ(released, 0);
  ASSERT_EQ(regions.List(one).size(), 1u);
  EXPECT_EQ(regions.List(one)[0].name, "c");
  reader.reset();
  EXPECT_EQ(released, 1);
  regions.UnregisterAll(RegionKind::kSystem, one, [&] { ++released; });
  EXPECT_EQ(released, 2);
  EXPECT_TRUE(regions.List(two).empty());
  regions.UnregisterAll(RegionKind::kSystem, one, [&] { ++released; });
  regions.UnregisterAll(one, [&] { ++released; });
  EXPECT_EQ(released, 4);
}

TEST(RegionRegistryTest, CudaHandlesAreCheckedAndNeedADevice) {
  RegionOptions options;
  options.kinds = "cuda";
  RegionRegistry regions(options);
  CudaRegionRequest request = {
      .handle = std::string(63, 'h'), .event = "", .device = 0, .byte_size = 1};
  absl::Status status = regions.Register("a", request, Me());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "cuda_handle must have the 64 bytes of a cudaIpcMemHandle_t, got 63");
  request.handle.resize(64);
  request.event = "short";
  status = regions.Register("a", request, Me());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "cuda_event must have the 64 bytes of a cudaIpcEventHandle_t, got 5");
  request.event.clear();
  request.device = 7;
  status = regions.Register("a", request, Me());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "device 7: this server has no sampler that reads CUDA IPC memory");
}

}  // namespace
}  // namespace token_sampler
