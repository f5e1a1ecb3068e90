#include "client/cli/flags/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace token_sampler::client {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<Matrix> Read(const std::string& bytes, std::optional<DataType> dtype = {}) {
  std::istringstream stream(bytes);
  return ReadNpy(stream, "rows.npy", dtype);
}

// Makes a file whose header is `dictionary`, followed by `values` bytes.
std::string File(const std::string& dictionary, size_t values, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes.push_back(static_cast<char>(version));
  bytes.push_back(0);
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
    bytes.push_back(static_cast<char>(dictionary.size() >> (8 * i)));
  }
  return absl::StrCat(bytes, dictionary, std::string(values, '\1'));
}

std::string Dictionary(const std::string& descr, const std::string& shape,
                       const std::string& fortran = "False") {
  return absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", fortran, ", 'shape': ", shape,
                      ", }  \n");
}

std::string ErrorOf(const std::string& bytes, std::optional<DataType> dtype = {}) {
  const absl::Status status = Read(bytes, dtype).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith("rows.npy: "));
  return std::string(status.message());
}

TEST(NpyTest, ReadsTheValues) {
  // Like the output of numpy.save for numpy.array([[1, 2, 3], [-1, 0.5, -inf]], "<f4").
  const std::string header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + std::string(58, ' ') + "\n";
  std::string bytes = std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header;
  ASSERT_EQ(bytes.size(), 128u);
  const float values[] = {1.0f, 2.0f, 3.0f, -1.0f, 0.5f, -INFINITY};
  bytes.append(reinterpret_cast<const char*>(values), sizeof(values));
  const absl::StatusOr<Matrix> matrix = Read(bytes);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->dtype, DataType::kFloat32);
  EXPECT_EQ(matrix->rows, 2);
  EXPECT_EQ(matrix->vocab, 3);
  ASSERT_EQ(matrix->byte_size, sizeof(values));
  EXPECT_EQ(std::memcmp(matrix->values, values, sizeof(values)), 0);
}

TEST(NpyTest, ReadsTheRealRows) {
  const absl::StatusOr<Matrix> matrix =
      ReadNpy(TOKEN_SAMPLER_TEST_DATA "/kjv_trigram_logits_f16.npy");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->dtype, DataType::kFloat16);
  EXPECT_EQ(matrix->rows, 63);
  EXPECT_EQ(matrix->vocab, 13795);
}

TEST(NpyTest, ReadsEveryVersionTypeAndFormOfHeader) {
  for (int version : {1, 2, 3}) {
    EXPECT_TRUE(Read(File(Dictionary("<f4", "(2, 3)"), 24, version)).ok()) << version;
  }
  EXPECT_EQ(Read(File(Dictionary("<f2", "(2, 3)"), 12))->dtype, DataType::kFloat16);
  EXPECT_EQ(Read(File(Dictionary("<f8", "(2, 3)"), 48))->dtype, DataType::kFloat64);
  for (const char* descr : {"<u2", "|V2", "<V2"}) {
    const absl::StatusOr<Matrix> matrix =
        Read(File(Dictionary(descr, "(2, 3)"), 12), DataType::kBFloat16);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    EXPECT_EQ(matrix->dtype, DataType::kBFloat16);
  }
  const absl::StatusOr<Matrix> row = Read(File(Dictionary("<f4", "(5,)", "True"), 20));
  ASSERT_TRUE(row.ok()) << "one dimension is both C and Fortran order: " << row.status();
  EXPECT_EQ(row->rows, 1);
  EXPECT_EQ(row->vocab, 5);
  EXPECT_TRUE(Read(File("{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":False}", 24)).ok());
}

TEST(NpyTest, WritesWhatItReads) {
  const std::vector<uint16_t> values = {1, 2, 3, 4, 5, 6};
  const Matrix written = BFloat16Matrix(values, 3);
  const absl::StatusOr<Matrix> read = Read(NpyBytes(written), DataType::kBFloat16);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->rows, 2);
  EXPECT_EQ(read->vocab, 3);
  EXPECT_EQ(std::memcmp(read->values, values.data(), read->byte_size), 0);
}

TEST(NpyTest, SaysWhatIsWrongWithTheType) {
  EXPECT_THAT(ErrorOf(File(Dictionary("<i8", "(2, 3)"), 48)),
              HasSubstr("must be floating point (<f2, <f4 or <f8), got '<i8'"));
  EXPECT_THAT(ErrorOf(File(Dictionary("|b1", "(2, 3)"), 6)), HasSubstr("got '|b1'"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<c8", "(2, 3)"), 48)), HasSubstr("floating point"));
  EXPECT_THAT(ErrorOf(File(Dictionary(">f4", "(2, 3)"), 24)),
              HasSubstr("must be little-endian (<f2, <f4 or <f8), got '>f4'"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<u2", "(2, 3)"), 12)), HasSubstr("--dtype bf16"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)"), 24), DataType::kBFloat16),
              HasSubstr("bfloat16 must be stored as <u2"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)"), 24), DataType::kFloat16),
              HasSubstr("dtype must be f16, got '<f4'"));
  EXPECT_THAT(
      ErrorOf(File("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8)),
      HasSubstr("got a structure"));
}

TEST(NpyTest, SaysWhatIsWrongWithTheShape) {
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)", "True"), 24)), HasSubstr("Fortran order"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "()"), 4)),
              HasSubstr("[vocab] or [rows, vocab], got ()"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(1, 2, 3)"), 24)), HasSubstr("got (1, 2, 3)"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(0, 3)"), 0)), HasSubstr("holds no values"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, -3)"), 24)), HasSubstr("expected a dimension"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(99999999999999999999, 1)"), 24)),
              HasSubstr("dimensions must be at most 4294967295"));
  // 2^32 - 1 squared, times 4 bytes, is more than 2^64.
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(4294967295, 4294967295)"), 24)),
              HasSubstr("shape is too large"));
}

TEST(NpyTest, SaysWhatIsWrongWithTheSize) {
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)"), 23)),
              HasSubstr("truncated: its shape (2, 3) takes 24 bytes of values, the file has 23"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)"), 25)), HasSubstr("has more bytes"));
  // Would be 2^62 bytes: fails because the file has fewer, not because of an allocation.
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(1073741824, 1073741824)"), 100)),
              HasSubstr("the file has 100"));
}

TEST(NpyTest, SaysWhatIsWrongWithTheHeader) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("not a .npy file"));
  EXPECT_THAT(ErrorOf("PK\3\4 a zip file"), HasSubstr("not a .npy file"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)"), 24, 4)),
              HasSubstr("version must be 1, 2 or 3, got 4"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(2, 3)"), 0).substr(0, 40)),
              HasSubstr("ends inside the header"));
  EXPECT_THAT(ErrorOf(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12)),
              HasSubstr("must be at most 10000 bytes, got 4294967295"));
  EXPECT_THAT(ErrorOf(File("", 0)), HasSubstr("expected '{' at its end"));
  EXPECT_THAT(ErrorOf(File("{'descr': '<f4'}", 24)), HasSubstr("each once, got descr"));
  EXPECT_THAT(ErrorOf(File("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, "
                           "'shape': (6,)}",
                           24)),
              HasSubstr("each once"));
  EXPECT_THAT(ErrorOf(File("{'color': '<f4'}", 24)), HasSubstr("unknown key 'color'"));
  EXPECT_THAT(ErrorOf(File("{'descr': '<f4}", 24)), HasSubstr("expected a closed string"));
  EXPECT_THAT(ErrorOf(File("{'fortran_order': Maybe}", 24)), HasSubstr("expected True or False"));
  EXPECT_THAT(ErrorOf(File(Dictionary("<f4", "(6,)") + "more", 24)), HasSubstr("expected nothing"));
}

TEST(NpyTest, NamesAFileThatCannotBeRead) {
  const absl::Status missing = ReadNpy("/nowhere/rows.npy").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(),
            "/nowhere/rows.npy: cannot be opened: No such file or directory; expected a .npy file "
            "of floating-point values, [rows, vocab] or [vocab]");
  EXPECT_EQ(ReadNpyWords("/").status().message(),
            "/: cannot be opened: Is a directory; expected a .npy file of int32 words, [words] or "
            "[rows, words]");
  EXPECT_EQ(ReadNpy("/proc/self/mem").status().message(),
            "/proc/self/mem: cannot be read: Input/output error");
}

// Changes, removes, doubles and adds bytes at random, and expects an error or a matrix with all
// values.
TEST(NpyTest, SurvivesAnyDamage) {
  std::mt19937 random(20240607);
  const auto below = [&random](size_t bound) { return static_cast<size_t>(random()) % bound; };
  const std::vector<std::string> files = {File(Dictionary("<f4", "(2, 3)"), 24),
                                          File(Dictionary("<f2", "(7,)"), 14, 2),
                                          File(Dictionary("<u2", "(3, 5)"), 30, 3)};
  int accepted = 0;
  int rejected = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string bytes = files[below(files.size())];
    for (size_t changes = 1 + below(4); changes > 0 && !bytes.empty(); --changes) {
      const size_t at = below(bytes.size());
      switch (below(5)) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(8)));
          break;
        default:
          bytes.erase(at, 1 + below(8));
      }
    }
    const std::optional<DataType> wanted =
        below(2) == 0 ? std::nullopt : std::optional(DataType::kBFloat16);
    const absl::StatusOr<Matrix> matrix = Read(bytes, wanted);
    if (!matrix.ok()) {
      ++rejected;
      continue;
    }
    ++accepted;
    ASSERT_EQ(matrix->byte_size, static_cast<size_t>(matrix->rows) *
                                     static_cast<size_t>(matrix->vocab) *
                                     ElementSize(matrix->dtype));
    ASSERT_LE(matrix->byte_size, bytes.size());
    const std::string copy(static_cast<const char*>(matrix->values), matrix->byte_size);
    ASSERT_EQ(copy, bytes.substr(bytes.size() - matrix->byte_size));
  }
  EXPECT_GT(accepted, 100) << "the damage is too coarse to test anything";
  EXPECT_GT(rejected, 1000);
}

}  // namespace
}  // namespace token_sampler::client
