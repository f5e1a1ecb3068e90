// Compiles and links what a program that samples over the network does. Nothing answers at its
// address, and saying so is what it is checked for.

#include <cstdio>

#include "token_sampler/sampler_client.h"
#include "token_sampler/sequence_stream.h"
#include "token_sampler/shared_region.h"

int main() {
  const float logits[] = {0.0f, 1.0f, 2.0f};
  token_sampler::client::SampleRequest request;
  request.matrix = token_sampler::client::Float32Matrix(logits, 3);
  const auto client = token_sampler::client::SamplerClient::Connect("unix:/nonexistent/socket");
  if (!client.ok()) return 1;
  std::puts(client->Sample(request).status().ToString().c_str());
  return 0;
}
