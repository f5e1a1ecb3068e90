#include "client/wire/call_status.h"

#include "absl/strings/str_cat.h"

namespace token_sampler::client {
namespace {

// Returns advice for the caller, which follows the message of the server or of gRPC.
std::string Advice(grpc::StatusCode code, const std::string& address, absl::Duration timeout) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
      return absl::StrCat("nothing answers at ", address, ", or the server there is stopping");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::StrCat("no answer from ", address, " within ", absl::FormatDuration(timeout),
                          "; a longer timeout or smaller requests may help");
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::StrCat(address, " does not have this call; is it a token-sampler-server?");
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "send fewer or smaller requests, or raise the server's limits";
    default:
      return "";
  }
}

}  // namespace

absl::Status ToAbsl(const grpc::Status& status, const std::string& address,
                    absl::Duration timeout) {
  if (status.ok()) return absl::OkStatus();
  std::string message = status.error_message();
  const std::string advice = Advice(status.error_code(), address, timeout);
  if (!advice.empty()) absl::StrAppend(&message, message.empty() ? "" : " ", "(", advice, ")");
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), message);
}

}  // namespace token_sampler::client
