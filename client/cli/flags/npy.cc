#include "client/cli/flags/npy.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/flags/input_file.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
// numpy itself refuses longer ones; the header of a matrix has about 100 bytes.
constexpr size_t kMaxHeaderBytes = 10000;
constexpr uint64_t kMaxDimension = std::numeric_limits<uint32_t>::max();
// How much is read at a time: a header that lies about the size costs nothing.
constexpr size_t kChunkBytes = size_t{8} << 20;

// The Python dictionary in the header.
struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
};

// Parses {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } with its keys in any order.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<Header> Parse() {
    Header header;
    std::vector<std::string> keys;
    if (!Take('{')) return Expected("'{'");
    while (!Take('}')) {
      ASSIGN_OR_RETURN(std::string key, String());
      if (!Take(':')) return Expected("':'");
      RETURN_IF_ERROR(Value(key, header));
      keys.push_back(std::move(key));
      if (!Take(',') && Peek() != '}') return Expected("',' or '}'");
    }
    if (Peek() != '\0' || !rest_.empty()) return Expected("nothing");
    std::sort(keys.begin(), keys.end());
    if (keys != std::vector<std::string>{"descr", "fortran_order", "shape"}) {
      return absl::InvalidArgumentError(
          absl::StrCat("bad header: needs the keys descr, fortran_order and shape, each once, got ",
                       keys.empty() ? "none" : absl::CHexEscape(absl::StrJoin(keys, ", "))));
    }
    return header;
  }

 private:
  absl::Status Expected(absl::string_view what) const {
    const std::string found =
        rest_.empty() ? "its end" : absl::StrCat("'", absl::CHexEscape(rest_.substr(0, 20)), "'");
    return absl::InvalidArgumentError(absl::StrCat("bad header: expected ", what, " at ", found));
  }

  // The next character that is not white space; '\0' at the end.
  char Peek() {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    return rest_.empty() ? '\0' : rest_.front();
  }

  bool Take(char wanted) {
    if (Peek() != wanted || rest_.empty()) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool TakeWord(absl::string_view word) {
    Peek();
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  absl::StatusOr<std::string> String() {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return Expected("a string");
    const size_t end = rest_.find(quote, 1);
    if (end == absl::string_view::npos) return Expected("a closed string");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  absl::Status Value(const std::string& key, Header& header) {
    if (key == "descr") {
      if (Peek() == '[') {
        return absl::InvalidArgumentError("dtype must be floating point, got a structure");
      }
      ASSIGN_OR_RETURN(header.descr, String());
      return absl::OkStatus();
    }
    if (key == "fortran_order") {
      header.fortran_order = TakeWord("True");
      return header.fortran_order || TakeWord("False") ? absl::OkStatus()
                                                       : Expected("True or False");
    }
    if (key == "shape") return Shape(header.shape);
    return absl::InvalidArgumentError(
        absl::StrCat("bad header: unknown key '", absl::CHexEscape(key), "'"));
  }

  absl::Status Shape(std::vector<uint64_t>& shape) {
    shape.clear();
    if (!Take('(')) return Expected("'('");
    while (!Take(')')) {
      Peek();
      const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      uint64_t dimension = 0;
      if (digits == 0) return Expected("a dimension");
      if (!absl::SimpleAtoi(rest_.substr(0, digits), &dimension) || dimension > kMaxDimension) {
        return absl::InvalidArgumentError(absl::StrCat("dimensions must be at most ", kMaxDimension,
                                                       ", got ", rest_.substr(0, digits)));
      }
      rest_.remove_prefix(digits);
      shape.push_back(dimension);
      if (!Take(',') && Peek() != ')') return Expected("',' or ')'");
    }
    return absl::OkStatus();
  }

  absl::string_view rest_;
};

// Reads up to `count` bytes, fewer at the end of the stream.
std::string ReadUpTo(std::istream& stream, size_t count) {
  std::string bytes(count, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(stream.gcount()));
  return bytes;
}

absl::StatusOr<Header> ReadHeader(std::istream& stream) {
  const std::string start = ReadUpTo(stream, kMagic.size() + 2);
  if (stream.bad()) return absl::InvalidArgumentError(CannotBeRead());
  if (start.size() < kMagic.size() + 2 || absl::string_view(start).substr(0, 6) != kMagic) {
    return absl::InvalidArgumentError("not a .npy file: it does not start with \\x93NUMPY");
  }
  const int version = static_cast<unsigned char>(start[6]);
  if (version < 1 || version > 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("format version must be 1, 2 or 3, got ", version));
  }
  const std::string length_bytes = ReadUpTo(stream, version == 1 ? 2 : 4);
  size_t length = 0;
  for (size_t i = 0; i < length_bytes.size(); ++i) {
    length |= size_t{static_cast<unsigned char>(length_bytes[i])} << (8 * i);
  }
  if (length > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("bad header: its length must be at most ",
                                                   kMaxHeaderBytes, " bytes, got ", length));
  }
  const std::string text = ReadUpTo(stream, length);
  if (text.size() < length || !stream) {
    return absl::InvalidArgumentError("truncated: it ends inside the header");
  }
  return HeaderParser(text).Parse();
}

// The element type that a file of `descr` holds for a caller that wants `wanted`.
absl::StatusOr<DataType> ResolveType(const std::string& descr, std::optional<DataType> wanted) {
  const std::string shown = absl::StrCat("'", absl::CHexEscape(descr), "'");
  const bool two_bytes = descr == "<u2" || descr == "|V2" || descr == "<V2";
  if (two_bytes && wanted == DataType::kBFloat16) return DataType::kBFloat16;
  if (two_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype must be floating point (<f2, <f4 or <f8), got ", shown,
                     "; for bfloat16 values say --dtype bf16"));
  }
  std::optional<DataType> held;
  if (descr == "<f2") held = DataType::kFloat16;
  if (descr == "<f4") held = DataType::kFloat32;
  if (descr == "<f8") held = DataType::kFloat64;
  if (!held) {
    const bool big_endian = descr == ">f2" || descr == ">f4" || descr == ">f8";
    return absl::InvalidArgumentError(
        absl::StrCat(big_endian ? "values must be little-endian (<f2, <f4 or <f8), got "
                                : "dtype must be floating point (<f2, <f4 or <f8), got ",
                     shown));
  }
  if (wanted == DataType::kBFloat16) {
    return absl::InvalidArgumentError(
        absl::StrCat("bfloat16 must be stored as <u2 or |V2, got ", shown));
  }
  if (wanted && *wanted != *held) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype must be ", DataTypeName(*wanted), ", got ", shown));
  }
  return *held;
}

// Sets rows, vocab and byte_size.
absl::Status ResolveShape(const Header& header, Matrix& matrix) {
  const std::vector<uint64_t>& shape = header.shape;
  const std::string shown = absl::StrCat("(", absl::StrJoin(shape, ", "), ")");
  if (shape.empty() || shape.size() > 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape must be [vocab] or [rows, vocab], got ", shown));
  }
  if (header.fortran_order && shape.size() == 2) {
    return absl::InvalidArgumentError(
        "values must be in C order, got Fortran order; save numpy.ascontiguousarray(x)");
  }
  const uint64_t rows = shape.size() == 2 ? shape[0] : 1;
  const uint64_t vocab = shape.back();
  if (rows == 0 || vocab == 0) {
    return absl::InvalidArgumentError(absl::StrCat("holds no values, its shape is ", shown));
  }
  // Both are below 2^32.
  if (rows * vocab > std::numeric_limits<int64_t>::max() / ElementSize(matrix.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat("shape is too large: ", shown));
  }
  matrix.rows = static_cast<int64_t>(rows);
  matrix.vocab = static_cast<int64_t>(vocab);
  matrix.byte_size = rows * vocab * ElementSize(matrix.dtype);
  return absl::OkStatus();
}

absl::Status ReadValues(std::istream& stream, Matrix& matrix) {
  auto bytes = std::make_shared<std::string>();
  while (bytes->size() < matrix.byte_size) {
    const size_t before = bytes->size();
    const size_t wanted = std::min(kChunkBytes, matrix.byte_size - before);
    bytes->resize(before + wanted);
    stream.read(bytes->data() + before, static_cast<std::streamsize>(wanted));
    bytes->resize(before + static_cast<size_t>(stream.gcount()));
    if (stream.bad()) return absl::InvalidArgumentError(CannotBeRead());
    if (!stream) {
      return absl::InvalidArgumentError(
          absl::StrCat("truncated: its shape (", matrix.rows, ", ", matrix.vocab, ") takes ",
                       matrix.byte_size, " bytes of values, the file has ", bytes->size()));
    }
  }
  if (stream.peek() != std::istream::traits_type::eof()) {
    return absl::InvalidArgumentError(absl::StrCat("has more bytes than its shape (", matrix.rows,
                                                   ", ", matrix.vocab, ") takes, which are ",
                                                   matrix.byte_size));
  }
  matrix.values = bytes->data();
  matrix.owner = std::move(bytes);
  return absl::OkStatus();
}

absl::StatusOr<Matrix> ReadNpyUnnamed(std::istream& stream, std::optional<DataType> wanted) {
  ASSIGN_OR_RETURN(Header header, ReadHeader(stream));
  Matrix matrix;
  ASSIGN_OR_RETURN(matrix.dtype, ResolveType(header.descr, wanted));
  RETURN_IF_ERROR(ResolveShape(header, matrix));
  RETURN_IF_ERROR(ReadValues(stream, matrix));
  return matrix;
}

absl::StatusOr<NpyWords> ReadWords(std::istream& stream) {
  ASSIGN_OR_RETURN(const Header header, ReadHeader(stream));
  if (header.descr != "<i4" && header.descr != "<u4") {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype must be <i4 or <u4, got '", absl::CHexEscape(header.descr), "'"));
  }
  Matrix words;  // of values of the same size
  static_assert(sizeof(int32_t) == sizeof(float));
  RETURN_IF_ERROR(ResolveShape(header, words));
  RETURN_IF_ERROR(ReadValues(stream, words));
  return NpyWords{words.rows, words.vocab,
                  std::string(static_cast<const char*>(words.values), words.byte_size)};
}

absl::Status Named(absl::string_view name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

}  // namespace

absl::StatusOr<Matrix> ReadNpy(std::istream& stream, absl::string_view name,
                               std::optional<DataType> dtype) {
  absl::StatusOr<Matrix> matrix = ReadNpyUnnamed(stream, dtype);
  if (matrix.ok()) return matrix;
  return Named(name, matrix.status());
}

absl::StatusOr<Matrix> ReadNpy(const std::string& path, std::optional<DataType> dtype) {
  ASSIGN_OR_RETURN(
      std::ifstream file,
      OpenFile(path, "a .npy file of floating-point values, [rows, vocab] or [vocab]"));
  return ReadNpy(file, path, dtype);
}

absl::StatusOr<NpyWords> ReadNpyWords(const std::string& path) {
  ASSIGN_OR_RETURN(std::ifstream file,
                   OpenFile(path, "a .npy file of int32 words, [words] or [rows, words]"));
  absl::StatusOr<NpyWords> words = ReadWords(file);
  if (words.ok()) return words;
  return Named(path, words.status());
}

std::string NpyBytes(const Matrix& matrix) {
  constexpr std::array<absl::string_view, 4> kDescr = {"<f4", "<f2", "<u2", "<f8"};
  std::string header = absl::StrCat("{'descr': '", kDescr[static_cast<size_t>(matrix.dtype)],
                                    "', 'fortran_order': False, 'shape': (", matrix.rows, ", ",
                                    matrix.vocab, "), }");
  // The values begin at a multiple of 64.
  constexpr size_t kAlignment = 64;
  const size_t unpadded = kMagic.size() + 4 + header.size() + 1;
  header.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  header.push_back('\n');
  std::string bytes(kMagic);
  bytes.append(
      {1, 0, static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)});
  return absl::StrCat(bytes, header,
                      absl::string_view(static_cast<const char*>(matrix.values), matrix.byte_size));
}

}  // namespace token_sampler::client
