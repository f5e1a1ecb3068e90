#include "server/program/goaway.h"

#include <grpcpp/alarm.h>

#include <chrono>
#include <future>

// gRPC 1.51, which Debian 12 and 13 have, has this, exports it, and declares it in no header that
// is installed. Its Shutdown does the same, but from then on it answers calls that are under way to
// the server with CANCELLED, which tells a client that it gave up itself, and no client tries
// again. To be removed when gRPC has a drain of its own.
namespace grpc_core {
class Server {
 public:
  void SendGoaways();
};
}  // namespace grpc_core

namespace token_sampler {

void SendGoaways(grpc::Server& server) {
  // It needs a context that gRPC's own threads have, and an alarm rings on one of them.
  std::promise<void> sent;
  grpc::Alarm alarm;
  alarm.Set(std::chrono::system_clock::now(), [&](bool) {
    // The handle of gRPC's C interface is this object.
    reinterpret_cast<grpc_core::Server*>(server.c_server())->SendGoaways();
    sent.set_value();
  });
  sent.get_future().wait();
}

}  // namespace token_sampler
