// Tests which options are refused, with which messages, and how the clients' weights are read.

#include "server/program/server_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::StartsWith;

TEST(ServerOptionsTest, ErrorsNameFlagValueAndRange) {
  ServerOptions options;
  EXPECT_TRUE(ValidateOptions(options).ok());
  options.device = "tpu";
  EXPECT_EQ(ValidateOptions(options).message(), "--device must be one of auto, cpu, cuda, got tpu");
  options = {};
  options.regions.kinds = "gpu";
  EXPECT_EQ(ValidateOptions(options).message(),
            "--shared-memory must be one of off, system, cuda, all, got gpu");
  options = {};
  options.regions.peers = "all";
  EXPECT_EQ(ValidateOptions(options).message(),
            "--shared-memory-peers must be one of local, any, got all");
  options = {};
  options.regions.max_regions_per_peer = 0;
  EXPECT_EQ(ValidateOptions(options).message(),
            "--max-regions-per-peer must be in [1, 4294967295], got 0");
  options = {};
  options.request.max_vocab = (1u << 24) + 1;
  EXPECT_EQ(ValidateOptions(options).message(),
            "--max-vocab must be in [1, 16777216], got 16777217");
  options = {};
  options.threads = 1025;
  EXPECT_EQ(ValidateOptions(options).message(), "--threads must be in [0, 1024], got 1025");
  options = {};
  options.max_metadata_bytes = 8191;
  EXPECT_EQ(ValidateOptions(options).message(),
            "--max-metadata-bytes must be in [8192, 16777216], got 8191");
  options = {};
  options.listen = {"unix:"};
  EXPECT_THAT(std::string(ValidateOptions(options).message()), StartsWith("--listen "));
  options.listen = {"127.0.0.1:99999"};
  EXPECT_THAT(std::string(ValidateOptions(options).message()),
              StartsWith("--listen 127.0.0.1:99999: "));
  options = {};
  options.socket_mode = "rw";
  EXPECT_THAT(std::string(ValidateOptions(options).message()), StartsWith("--socket-mode "));
  options = {};
  options.listen = {};
  EXPECT_EQ(ValidateOptions(options).message(), "--listen must name at least one address");
}

TEST(ServerOptionsTest, WeightsOfClientsAreReadOrRefusedByName) {
  EXPECT_THAT(*ParseClientWeights({"ipv4:10.0.0.7=3", "unix:1000=0.5", "ipv6:2001:db8::1=10"}),
              ElementsAre(Pair("ipv4:10.0.0.7", 3), Pair("ipv6:2001:db8::/64", 10),
                          Pair("unix:1000", 0.5)));
  const auto refusal = [](std::vector<std::string> weights) {
    ServerOptions options;
    options.client_weights = std::move(weights);
    return std::string(ValidateOptions(options).message());
  };
  EXPECT_EQ(refusal({"unix:"}), "--client-weight \"unix:\": must be CLIENT=WEIGHT");
  EXPECT_EQ(refusal({"me=2"}),
            "--client-weight \"me=2\": a client must be ipv4:ADDRESS, ipv6:ADDRESS, which means "
            "its network of 64 bits, or unix:UID, a user's number");
  for (const std::string weight : {"0", "-1", "0.0009", "1001", "nan", "inf", "much", ""}) {
    EXPECT_EQ(refusal({"unix:0=" + weight}),
              "--client-weight \"unix:0=" + weight + "\": the weight must be in [0.001, 1000]");
  }
  EXPECT_EQ(refusal({"ipv6:2001:db8::1=2", "ipv6:2001:db8::2=3"}),
            "--client-weight \"ipv6:2001:db8::2=3\": the client has a weight already");
}

}  // namespace
}  // namespace token_sampler
