// Tests who owns which regions, and for whom an object is opened, without a network.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/regions/region_registry.h"
#include "server/regions/system_region.h"
#include "tests/unit/server/region_objects.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(SystemRegionTest, RootOpensNothingForOthersThatTheyMayNotReadThemselves) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can open it at all";
  const Object object(1000);
  const std::string path = absl::StrCat("/dev/shm", object.key());
  ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  EXPECT_EQ(SystemRegion::Open(object.key(), 0, 1000).status().code(),
            absl::StatusCode::kPermissionDenied);
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  const auto readable = SystemRegion::Open(object.key(), 0, 1000);
  ASSERT_TRUE(readable.ok()) << readable.status();
  EXPECT_EQ((*readable)->Write(0, "x").code(), absl::StatusCode::kPermissionDenied);
  ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  EXPECT_TRUE((*SystemRegion::Open(object.key(), 0, 1000))->Write(0, "x").ok());
}

TEST(SystemRegionTest, OpensForAUserWhatHeMayOpenHimself) {
  const Object object(1000);
  const std::string path = absl::StrCat("/dev/shm", object.key());
  const uid_t owner = geteuid();
  const uid_t other = owner + 1000;
  const auto opened_by = [&](uid_t user, mode_t mode) {
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return SystemRegion::Open(object.key(), 0, 1000, user);
  };
  const auto code = [&](uid_t user, mode_t mode) { return opened_by(user, mode).status().code(); };
  EXPECT_EQ(code(owner, 0600), absl::StatusCode::kOk);
  // The groups of this user are unknown.
  for (const mode_t mode : {0600u, 0640u, 0604u, 0622u}) {
    EXPECT_EQ(code(other, mode), absl::StatusCode::kPermissionDenied) << mode;
  }
  const auto readable = opened_by(other, 0644);
  ASSERT_TRUE(readable.ok()) << readable.status();
  EXPECT_EQ((*readable)->Write(0, "x").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE((*opened_by(other, 0666))->Write(0, "x").ok());
  EXPECT_TRUE((*opened_by(owner, 0644))->Write(0, "x").ok());
}

TEST(SystemRegionTest, RootOpensForAnOwnerWhatIsHisAndForRootEverything) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can have an object of another user";
  const Object object(1000);
  ASSERT_EQ(chown(absl::StrCat("/dev/shm", object.key()).c_str(), 65534, 65534), 0);
  EXPECT_TRUE(SystemRegion::Open(object.key(), 0, 1000, 65534).ok());
  EXPECT_TRUE(SystemRegion::Open(object.key(), 0, 1000, 0).ok());
  EXPECT_FALSE(SystemRegion::Open(object.key(), 0, 1000, 1).ok());
}

std::vector<std::string> NamesFor(const CallIdentity& caller, const RegionRegistry& regions) {
  std::vector<std::string> names;
  for (const auto& region : regions.List(caller)) names.push_back(region.name);
  return names;
}

// Two users who share neither names nor regions, and root, who cleans up.
class RegionOwnersTest : public ::testing::Test {
 protected:
  RegionOwnersTest() {
    if (geteuid() == 0) {
      EXPECT_EQ(chmod(absl::StrCat("/dev/shm", object_.key()).c_str(), 0644), 0);
    }
  }

  const Object object_{1000};
  const CallIdentity root_ = User(0);
  const CallIdentity one_ = geteuid() == 0 ? User(1000, 1) : Me();
  const CallIdentity two_ = At("ipv4:127.0.0.1:2");
};

TEST_F(RegionOwnersTest, EachClientHasItsOwnNames) {
  RegionRegistry regions(SystemOptions());
  ASSERT_TRUE(regions.Register("a", Whole(object_, 1000), one_).ok());
  const auto unknown = absl::NotFoundError("no region \"a\" is registered");
  EXPECT_EQ(regions.Find("a", two_).status(), unknown);
  EXPECT_EQ(regions.Unregister("a", two_, [] { FAIL(); }), unknown);
  EXPECT_THAT(NamesFor(two_, regions), IsEmpty());
  bool released = false;
  regions.UnregisterAll(RegionKind::kSystem, two_, [&] { released = true; });
  EXPECT_TRUE(released);
  ASSERT_TRUE(regions.Register("a", Whole(object_, 500), two_).ok());
  EXPECT_EQ((*regions.Find("a", one_))->byte_size(), 1000u);
  EXPECT_EQ((*regions.Find("a", two_))->byte_size(), 500u);
  ASSERT_TRUE(regions.Unregister("a", two_, [] {}).ok());
  EXPECT_THAT(NamesFor(one_, regions), ElementsAre("a"));
}

TEST_F(RegionOwnersTest, AClientHasThemOnAllOfItsConnections) {
  RegionRegistry regions(SystemOptions());
  ASSERT_TRUE(regions.Register("a", Whole(object_, 1000), one_).ok());
  CallIdentity other = one_;
  other.connection += "2";
  EXPECT_TRUE(regions.Find("a", other).ok());
  // Any address of the loopback interface is the same client.
  ASSERT_TRUE(regions.Register("b", Whole(object_, 1000), two_).ok());
  for (const char* peer : {"ipv4:127.0.0.2:1", "ipv6:[::1]:5", "ipv6:[::ffff:127.0.0.1]:7"}) {
    EXPECT_TRUE(regions.Find("b", At(peer)).ok()) << peer;
  }
  EXPECT_TRUE(regions.Unregister("a", other, [] {}).ok());
}

TEST_F(RegionOwnersTest, RootOnAUnixSocketSeesAndForgetsEverybodys) {
  RegionRegistry regions(SystemOptions());
  for (const CallIdentity* caller : {&one_, &two_}) {
    ASSERT_TRUE(regions.Register("a", Whole(object_, 1000), *caller).ok());
    ASSERT_TRUE(regions.Register("b", Whole(object_, 1000), *caller).ok());
  }
  EXPECT_THAT(NamesFor(root_, regions), UnorderedElementsAre("a", "b", "a", "b"));
  int released = 0;
  ASSERT_TRUE(regions.Unregister("a", root_, [&] { ++released; }).ok());
  EXPECT_EQ(released, 1);
  EXPECT_THAT(NamesFor(one_, regions), ElementsAre("b"));
  EXPECT_THAT(NamesFor(two_, regions), ElementsAre("b"));
  regions.UnregisterAll(RegionKind::kSystem, root_, [&] { ++released; });
  EXPECT_EQ(released, 2);
  EXPECT_THAT(NamesFor(one_, regions), IsEmpty());
  EXPECT_EQ(regions.Unregister("a", root_, [] { FAIL(); }).code(), absl::StatusCode::kNotFound);
}

TEST_F(RegionOwnersTest, RegionsCanBeEverybodys) {
  RegionOptions options = SystemOptions();
  options.owners = "any";
  RegionRegistry regions(options);
  ASSERT_TRUE(regions.Register("a", Whole(object_, 1000), one_).ok());
  EXPECT_TRUE(regions.Find("a", two_).ok());
  EXPECT_EQ(regions.Register("a", Whole(object_, 1000), two_).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(NamesFor(two_, regions), ElementsAre("a"));
  EXPECT_TRUE(regions.Unregister("a", two_, [] {}).ok());
  EXPECT_FALSE(regions.Find("a", one_).ok());
}

}  // namespace
}  // namespace token_sampler
