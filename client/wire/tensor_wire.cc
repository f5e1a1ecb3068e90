#include "client/wire/tensor_wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"

namespace token_sampler::client {
namespace {

constexpr int64_t kMaxMessageBytes = std::numeric_limits<int32_t>::max();

// Tag and length of a length-delimited field.
std::string FieldHead(int field, size_t length) {
  std::string head;
  google::protobuf::io::StringOutputStream stream(&head);
  google::protobuf::io::CodedOutputStream coded(&stream);
  constexpr uint32_t kLengthDelimited = 2;  // the wire type
  coded.WriteTag(static_cast<uint32_t>(field) << 3 | kLengthDelimited);
  coded.WriteVarint64(length);
  coded.Trim();
  return head;
}

v1::Candidates ToProto(const Matrix& matrix, const Candidates& candidates) {
  v1::Candidates proto;
  proto.mutable_lengths()->Add(candidates.lengths.begin(), candidates.lengths.end());
  proto.mutable_token_ids()->Add(candidates.token_ids.begin(), candidates.token_ids.end());
  proto.set_values(matrix.values, matrix.byte_size);
  proto.mutable_rest_log_sum_exp()->Add(candidates.rest_log_sum_exp.begin(),
                                        candidates.rest_log_sum_exp.end());
  proto.mutable_rest_counts()->Add(candidates.rest_counts.begin(), candidates.rest_counts.end());
  if (candidates.reject_inexact) proto.set_inexact(v1::INEXACT_POLICY_REJECT);
  return proto;
}

// True when the values are in the matrix itself: they are sent as a slice of their own.
bool HasValues(const Matrix& matrix) {
  return !matrix.region.has_value() && !matrix.candidates.has_value();
}

// The bytes of a tensor field before its values. A tensor in a region has no values.
std::string TensorHead(int field, const Matrix& matrix) {
  v1::Tensor tensor;
  tensor.set_dtype(ToProto(matrix.dtype));
  tensor.set_rows(static_cast<uint32_t>(matrix.rows));
  tensor.set_vocab(static_cast<uint32_t>(matrix.vocab));
  if (matrix.region.has_value()) *tensor.mutable_region() = ToProto(*matrix.region);
  if (matrix.candidates.has_value()) {
    *tensor.mutable_candidates() = ToProto(matrix, *matrix.candidates);
  }
  const std::string shape = tensor.SerializeAsString();
  if (!HasValues(matrix)) return FieldHead(field, shape.size()) + shape;
  const std::string values_head = FieldHead(v1::Tensor::kDataFieldNumber, matrix.byte_size);
  return FieldHead(field, shape.size() + values_head.size() + matrix.byte_size) + shape +
         values_head;
}

grpc::Slice ValuesSlice(const Matrix& matrix) {
  if (matrix.owner == nullptr) return grpc::Slice(matrix.values, matrix.byte_size);
  using Owner = std::shared_ptr<const void>;
  auto owner = std::make_unique<Owner>(matrix.owner);
  // gRPC only reads what it sends.
  void* values = const_cast<void*>(matrix.values);
  return grpc::Slice(
      values, matrix.byte_size, [](void* held) { delete static_cast<Owner*>(held); },
      owner.release());
}

}  // namespace

v1::DataType ToProto(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return v1::DATA_TYPE_FLOAT32;
    case DataType::kFloat16:
      return v1::DATA_TYPE_FLOAT16;
    case DataType::kBFloat16:
      return v1::DATA_TYPE_BFLOAT16;
    case DataType::kFloat64:
      break;
  }
  return v1::DATA_TYPE_FLOAT64;
}

v1::RegionSlice ToProto(const RegionRows& rows) {
  v1::RegionSlice slice;
  slice.set_name(rows.name);
  slice.set_offset(rows.offset);
  if (rows.row_stride != 0) slice.set_row_stride(rows.row_stride);
  return slice;
}

absl::Status CheckMatrix(const Matrix& matrix, absl::string_view field) {
  constexpr int64_t kMaxDimension = std::numeric_limits<uint32_t>::max();
  if (matrix.vocab < 1 || matrix.vocab > kMaxDimension) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".vocab must be in [1, ", kMaxDimension, "], got ", matrix.vocab));
  }
  if (matrix.rows < 1 || matrix.rows > kMaxDimension) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".rows must be in [1, ", kMaxDimension, "], got ", matrix.rows));
  }
  if (matrix.region.has_value()) {
    if (matrix.candidates.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, " must not have both a region and candidates"));
    }
    if (matrix.values == nullptr && matrix.byte_size == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(field, " in region \"", matrix.region->name,
                                                   "\" must have no values of its own"));
  }
  // The product of the dimensions is below 2^64; with the element size it may not be.
  const uint64_t values = matrix.candidates.has_value() ? matrix.candidates->token_ids.size()
                                                        : static_cast<uint64_t>(matrix.rows) *
                                                              static_cast<uint64_t>(matrix.vocab);
  const uint64_t element_size = ElementSize(matrix.dtype);
  if (matrix.byte_size % element_size != 0 || matrix.byte_size / element_size != values) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " of ", Counted(matrix.rows, "row"), " of ",
                     matrix.candidates.has_value() ? "candidates among " : "", matrix.vocab, " ",
                     DataTypeName(matrix.dtype), " values must hold ", values, " values of ",
                     element_size, " bytes, got ", matrix.byte_size, " bytes"));
  }
  if (matrix.values == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".values must not be null"));
  }
  return absl::OkStatus();
}

absl::StatusOr<grpc::ByteBuffer> EncodeWithTensors(const std::vector<TensorField>& tensors,
                                                   const google::protobuf::MessageLite& others) {
  // Write the message piece by piece, so that the values are not copied through a protobuf string:
  // [tag, length] of a tensor, its small fields, [tag, length] of the values, the values, and last
  // the request's other fields.
  std::vector<std::string> heads;
  uint64_t total = others.ByteSizeLong();
  for (const auto& [number, matrix] : tensors) {
    heads.push_back(TensorHead(number, *matrix));
    total += heads.back().size() + (HasValues(*matrix) ? matrix->byte_size : 0);
  }
  if (total > uint64_t{kMaxMessageBytes}) {
    return absl::InvalidArgumentError(absl::StrCat("the request has ", total, " bytes, gRPC sends ",
                                                   kMaxMessageBytes,
                                                   " at most; send fewer rows per call"));
  }
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < tensors.size(); ++i) {
    slices.emplace_back(heads[i]);
    if (HasValues(*tensors[i].matrix)) slices.push_back(ValuesSlice(*tensors[i].matrix));
  }
  slices.emplace_back(others.SerializeAsString());
  return grpc::ByteBuffer(slices.data(), slices.size());
}

grpc::ByteBuffer WrapInField(int number, const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  // This cannot fail for uncompressed bytes.
  (void)message.Dump(&slices);
  slices.insert(slices.begin(), grpc::Slice(FieldHead(number, message.Length())));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::Status Malformed(absl::string_view what) {
  return absl::InternalError(absl::StrCat("malformed response of the server: ", what));
}

}  // namespace token_sampler::client
