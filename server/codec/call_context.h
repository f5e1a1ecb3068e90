// Tells the decoders of a call's request what is not in the request: who calls, and what the call
// may use.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_CALL_CONTEXT_H_
#define TOKEN_SAMPLER_SERVER_CODEC_CALL_CONTEXT_H_

#include <cstdint>

#include "server/calls/call_identity.h"
#include "server/memory/caller_ledgers.h"
#include "server/memory/ledger.h"
#include "server/regions/region_registry.h"

namespace token_sampler {

// The limits of one call.
struct RequestLimits {
  uint32_t max_rows = 4096;
  uint32_t max_vocab = 1u << 24;                      // at most kMaxVocab
  uint64_t max_parsed_bytes = uint64_t{256} << 20;    // of the request after parsing
  uint64_t max_response_bytes = uint64_t{128} << 20;  // of the answer
};

struct CallContext {
  RequestLimits limits = {};
  RegionRegistry* regions = nullptr;  // in which tensors may be; null: none
  CallIdentity caller = {};
  Ledger* ledger = nullptr;  // grants memory; null: there is no budget
};

// The part of the context that all calls to a server share.
struct ServerContext {
  RequestLimits limits;
  RegionRegistry& regions;
  CallerLedgers& callers;

  CallContext ForCaller(const CallIdentity& caller) const {
    return {limits, &regions, caller, &callers.Of(caller.client)};
  }
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_CALL_CONTEXT_H_
