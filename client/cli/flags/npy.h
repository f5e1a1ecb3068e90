// Reads and writes .npy files (numpy.save) of floating-point matrices.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_FLAGS_NPY_H_
#define TOKEN_SAMPLER_CLIENT_CLI_FLAGS_NPY_H_

#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

// Reads a matrix of 2 dimensions, or of 1, which is one row, in format version 1, 2 or 3,
// little-endian, C order. The element type is the file's: <f2, <f4 or <f8. numpy has no bfloat16:
// with `dtype` kBFloat16 a file of <u2 or of 2-byte void (|V2) is read as bfloat16. With any other
// `dtype` the file must hold that type. The matrix owns its values.
//
// Takes no more memory than the file has bytes, whatever its header says. Errors begin with `name`
// or the path: NotFound when the file cannot be opened, otherwise InvalidArgument.
absl::StatusOr<Matrix> ReadNpy(const std::string& path, std::optional<DataType> dtype = {});
absl::StatusOr<Matrix> ReadNpy(std::istream& stream, absl::string_view name,
                               std::optional<DataType> dtype = {});

// A matrix of 32-bit words, or of 1 dimension, which is one row.
struct NpyWords {
  int64_t rows = 0;
  int64_t columns = 0;
  std::string bytes;  // little-endian
};

// Reads a file of <i4 or <u4, otherwise like ReadNpy().
absl::StatusOr<NpyWords> ReadNpyWords(const std::string& path);

// The bytes of a .npy file, format version 1. BF16 is written as <u2.
std::string NpyBytes(const Matrix& matrix);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_FLAGS_NPY_H_
