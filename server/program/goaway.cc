#include "server/program/goaway.h"

#include <grpcpp/alarm.h>

#include <chrono>
#include <future>

// gRPC 1.51, the version in Debian 12 and 13, exports this function, but no installed header
// declares it. gRPC's Shutdown also sends GOAWAY, but from then on it answers calls that are on
// their way to the server with CANCELLED. That tells a client that it cancelled the call itself, so
// no client retries. To be removed when gRPC has a way to drain.
namespace grpc_core {
class Server {
 public:
  void SendGoaways();
};
}  // namespace grpc_core

namespace token_sampler {

void SendGoaways(grpc::Server& server) {
  // SendGoaways needs the context of gRPC's own threads, and alarms run on one of them.
  std::promise<void> sent;
  grpc::Alarm alarm;
  alarm.Set(std::chrono::system_clock::now(), [&](bool) {
    // The handle of gRPC's C interface points to this object.
    reinterpret_cast<grpc_core::Server*>(server.c_server())->SendGoaways();
    sent.set_value();
  });
  sent.get_future().wait();
}

}  // namespace token_sampler
