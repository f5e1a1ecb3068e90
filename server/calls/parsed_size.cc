#include "server/calls/parsed_size.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/message.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_inference_service.pb.h"
#include "sampler/params/sampling_params.h"
#include "server/codec/invalid_argument.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

constexpr uint64_t kHeapBytes = 16;      // the most overhead of an allocation
constexpr uint64_t kPointerBytes = 16;   // of a pointer in an array that doubles
constexpr uint64_t kArrayBytes = 64;     // of an array with its first elements
constexpr uint64_t kShortString = 15;    // the longest string without an allocation
constexpr uint64_t kMapNodeBytes = 160;  // of a map's entry and its share of the table
constexpr int kMaxDepth = 100;           // protobuf's own
constexpr int kMaxGroups = 100;
constexpr uint64_t kMaxTensors = 256;  // several times the inputs or outputs of the model
constexpr int kCounters = 4;

// The bound on the number of entries of a repeated field.
enum class Bound : uint8_t { kNone, kRows, kTensors };

struct Shape;

struct Field {
  bool known = false;
  bool repeated = false;
  bool text = false;           // a string or bytes
  bool in_place = false;       // stays in the received pieces
  uint64_t element_bytes = 0;  // of a number
  uint64_t values = 0;         // of an enum that is not repeated: NumValues
  WireFormatLite::WireType wire_type = WireFormatLite::WIRETYPE_VARINT;  // of one entry
  const Shape* message = nullptr;
  Bound bound = Bound::kNone;
  int counter = 0;  // index of the field's count, if it has a bound
  std::string path;
};

struct Shape {
  uint64_t object_bytes = 0;
  uint64_t copies = 1;        // how often its numbers are in memory
  std::vector<Field> fields;  // by number
};

struct BoundedPath {
  absl::string_view type;
  absl::string_view path;
  Bound bound;
};
constexpr BoundedPath kBounded[] = {
    {"SampleRequest", "params", Bound::kRows},
    {"SampleRequest", "states", Bound::kRows},
    {"VerifyDraftRequest", "params", Bound::kRows},
    {"DescribeRequest", "request.params", Bound::kRows},
    {"DescribeRequest", "request.states", Bound::kRows},
    {"SampleStreamRequest", "open.params", Bound::kRows},
    {"ModelInferRequest", "inputs", Bound::kTensors},
    {"ModelInferRequest", "outputs", Bound::kTensors},
    {"ModelInferRequest", "raw_input_contents", Bound::kTensors},
};
// The fields that ParseSliced leaves in the received pieces.
constexpr BoundedPath kInPlace[] = {
    {"SampleRequest", "tensor.data", Bound::kNone},
    {"SampleStreamRequest", "step.tensor.data", Bound::kNone},
};

uint64_t NumberBytes(FieldDescriptor::CppType type) {
  switch (type) {
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return 8;
    case FieldDescriptor::CPPTYPE_BOOL:
      return 1;
    default:
      return 4;
  }
}

// Returns the number of values of an enum if they are 0, 1, 2 ...; otherwise 1, because 0 is always
// a value.
uint64_t NumValues(const EnumDescriptor& type) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.FindValueByNumber(i) == nullptr) return 1;
  }
  return static_cast<uint64_t>(type.value_count());
}

// Ends, because no message of a contract contains itself. Shapes live as long as the program.
const Shape* MakeShape(const Descriptor& root, const Descriptor& type, const std::string& prefix,
                       int& counters) {
  auto& shape = *new Shape;
  if (type.map_key() != nullptr) {
    shape.object_bytes = kMapNodeBytes;
  } else {
    shape.object_bytes = google::protobuf::MessageFactory::generated_factory()
                             ->GetPrototype(&type)
                             ->SpaceUsedLong() +
                         kHeapBytes;
  }
  if (&type == v1::SamplingParams::descriptor()) {
    shape.object_bytes += 2 * sizeof(SamplingParams);  // of the codec, in a vector that doubles
  }
  // The codec copies the lists of ids in the parameters, and the lists of lists.
  if (prefix.find("params.") != std::string::npos) {
    shape.copies = 2;
    if (prefix != "params.") shape.object_bytes += 2 * sizeof(std::vector<uint32_t>) + kHeapBytes;
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& descriptor = *type.field(i);
    const auto number = static_cast<size_t>(descriptor.number());
    if (shape.fields.size() <= number) shape.fields.resize(number + 1);
    Field& field = shape.fields[number];
    field.known = true;
    field.repeated = descriptor.is_repeated();
    field.path = absl::StrCat(prefix, descriptor.name());
    field.wire_type = WireFormatLite::WireTypeForFieldType(
        static_cast<WireFormatLite::FieldType>(descriptor.type()));
    const auto here = [&](const BoundedPath& known) {
      return known.type == root.name() && known.path == field.path;
    };
    field.in_place = std::any_of(std::begin(kInPlace), std::end(kInPlace), here);
    if (const auto* found = std::find_if(std::begin(kBounded), std::end(kBounded), here);
        found != std::end(kBounded)) {
      field.bound = found->bound;
      field.counter = counters++;
    }
    field.text = descriptor.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    if (descriptor.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      field.message =
          MakeShape(root, *descriptor.message_type(), absl::StrCat(field.path, "."), counters);
    } else if (!field.text) {
      field.element_bytes = NumberBytes(descriptor.cpp_type());
      const bool is_enum = descriptor.cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
      if (is_enum && !field.repeated) field.values = NumValues(*descriptor.enum_type());
    }
  }
  return &shape;
}

struct Root {
  const Descriptor* type;
  const Shape* shape;
  bool sliced;  // ParseSliced can parse it
};

// Returns null for a type that MeasureParsed does not support.
const Root* FindRoot(const Descriptor& type) {
  static const auto& roots = *new std::vector<Root>([] {
    std::vector<Root> made;
    for (const Descriptor* descriptor :
         {v1::SampleRequest::descriptor(), v1::SampleStreamRequest::descriptor(),
          v1::VerifyDraftRequest::descriptor(), v1::DescribeRequest::descriptor(),
          inference::ModelInferRequest::descriptor()}) {
      int counters = 0;
      const bool sliced =
          std::any_of(std::begin(kInPlace), std::end(kInPlace),
                      [&](const BoundedPath& known) { return known.type == descriptor->name(); });
      made.push_back({descriptor, MakeShape(*descriptor, *descriptor, "", counters), sliced});
    }
    return made;
  }());
  for (const Root& root : roots) {
    if (root.type == &type) return &root;
  }
  return nullptr;
}

// Reads a message from front to back and adds up what protobuf will allocate.
class Walk {
 public:
  Walk(const SlicedBytes& bytes, const ParseLimits& limits) : bytes_(bytes), limits_(limits) {}

  // Reads a message up to `end`. False if the bytes are not a message, or a limit is exceeded.
  bool Message(const Shape& shape, uint64_t end, int depth) {
    if (depth > kMaxDepth) return false;
    const Field* previous = nullptr;
    while (position() < end) {
      uint32_t number = 0;
      WireFormatLite::WireType wire_type;
      if (!Tag(end, number, wire_type)) return false;
      const Field* field = number < shape.fields.size() ? &shape.fields[number] : nullptr;
      const bool packed = field != nullptr && field->repeated && field->element_bytes > 0 &&
                          wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
      bool read = false;
      if (field != nullptr && field->repeated && field != previous) Add(kArrayBytes);
      previous = field;
      if (field == nullptr || !field->known || (field->wire_type != wire_type && !packed)) {
        all_known_ = false;
        read = Unknown(wire_type, end);
      } else if (packed) {
        read = Packed(*field, shape.copies, end);
      } else if (field->message != nullptr) {
        read = Part(*field, end, depth);
      } else if (field->text) {
        read = Text(*field, end);
      } else {
        if (field->repeated) Add(shape.copies * 2 * field->element_bytes);
        read = Number(*field, wire_type, end);
      }
      if (!read || too_large()) return false;
    }
    return position() == end;
  }

  void Add(uint64_t bytes) { size_ += bytes; }

  uint64_t size() const { return size_; }
  uint64_t in_place() const { return in_place_; }
  uint64_t data() const { return data_; }
  bool all_known() const { return all_known_; }
  bool too_large() const { return size_ > limits_.max_bytes; }

  // The field with too many entries; null if there is none.
  const Field* too_many() const { return too_many_; }
  uint64_t Most(const Field& field) const {
    return field.bound == Bound::kRows ? limits_.max_rows : kMaxTensors;
  }

 private:
  uint64_t position() const { return position_; }

  // Returns the next byte. There must be one.
  uint8_t Byte() {
    if (rest_.empty()) rest_ = bytes_.PieceFrom(position_);
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    ++position_;
    return byte;
  }

  void Skip(uint64_t count) {
    position_ += count;
    rest_.remove_prefix(std::min<uint64_t>(count, rest_.size()));
  }

  bool Varint(uint64_t end, int max_bytes, uint64_t& value) {
    value = 0;
    for (int i = 0; i < max_bytes && position_ < end; ++i) {
      const uint8_t byte = Byte();
      value |= uint64_t{byte & 0x7fu} << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool Tag(uint64_t end, uint32_t& number, WireFormatLite::WireType& wire_type) {
    uint64_t tag = 0;
    if (!Varint(end, 5, tag)) return false;
    number = static_cast<uint32_t>(tag) >> 3;
    wire_type = static_cast<WireFormatLite::WireType>(tag & 7);
    return number > 0;
  }

  bool Length(uint64_t end, uint64_t& length) {
    return Varint(end, 10, length) && length <= end - position_;
  }

  bool Bytes(uint64_t count, uint64_t end) {
    if (count > end - position_) return false;
    Skip(count);
    return true;
  }

  bool Number(const Field& field, WireFormatLite::WireType wire_type, uint64_t end) {
    uint64_t value = 0;
    if (!Number(wire_type, end, value)) return false;
    if (field.values > 0 && value >= field.values) all_known_ = false;
    return true;
  }

  bool Number(WireFormatLite::WireType wire_type, uint64_t end, uint64_t& varint) {
    switch (wire_type) {
      case WireFormatLite::WIRETYPE_VARINT:
        return Varint(end, 10, varint);
      case WireFormatLite::WIRETYPE_FIXED64:
        return Bytes(8, end);
      case WireFormatLite::WIRETYPE_FIXED32:
        return Bytes(4, end);
      default:
        return false;
    }
  }

  bool Text(const Field& field, uint64_t end) {
    uint64_t length = 0;
    if (!Length(end, length) || !Count(field)) return false;
    const uint64_t taken = sizeof(std::string) + kHeapBytes + kPointerBytes +
                           (length > kShortString ? length + kHeapBytes : 0);
    if (field.in_place) {
      in_place_ += length;
      data_ += taken;
    } else {
      Add(taken);
    }
    Skip(length);
    return true;
  }

  bool Part(const Field& field, uint64_t end, int depth) {
    uint64_t length = 0;
    if (!Length(end, length) || !Count(field)) return false;
    Add(field.message->object_bytes + kPointerBytes);
    return !too_large() && Message(*field.message, position_ + length, depth + 1);
  }

  bool Packed(const Field& field, uint64_t copies, uint64_t end) {
    uint64_t length = 0;
    if (!Length(end, length)) return false;
    uint64_t elements = 0;
    if (field.wire_type == WireFormatLite::WIRETYPE_VARINT) {
      elements = CountVarints(length);
    } else {
      elements = length / field.element_bytes;
      Skip(length);
    }
    Add(copies * 2 * elements * field.element_bytes);
    return true;
  }

  // Counts varints by their last bytes, which are below 128.
  uint64_t CountVarints(uint64_t length) {
    uint64_t count = 0;
    while (length > 0) {
      if (rest_.empty()) rest_ = bytes_.PieceFrom(position_);
      const absl::string_view piece = rest_.substr(0, length);
      count += static_cast<uint64_t>(std::count_if(piece.begin(), piece.end(), [](char byte) {
        return static_cast<signed char>(byte) >= 0;
      }));
      Skip(piece.size());
      length -= piece.size();
    }
    return count;
  }

  // Protobuf keeps unknown fields, and CheckFields refuses them.
  bool Unknown(WireFormatLite::WireType wire_type, uint64_t end) {
    int groups = 0;
    do {
      uint64_t length = 0;
      Add(kArrayBytes);
      switch (wire_type) {
        case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
          if (!Length(end, length)) return false;
          Add(sizeof(std::string) + length + 2 * kHeapBytes);
          Skip(length);
          break;
        case WireFormatLite::WIRETYPE_START_GROUP:
          if (++groups > kMaxGroups) return false;
          break;
        case WireFormatLite::WIRETYPE_END_GROUP:
          if (--groups < 0) return false;
          break;
        default:
          if (!Number(wire_type, end, length)) return false;
      }
      if (groups == 0) return true;
      uint32_t number = 0;
      if (!Tag(end, number, wire_type)) return false;
    } while (!too_large());
    return false;
  }

  bool Count(const Field& field) {
    if (field.bound == Bound::kNone) return true;
    if (++counts_[static_cast<size_t>(field.counter)] <= Most(field)) return true;
    too_many_ = &field;
    return false;
  }

  const SlicedBytes& bytes_;
  const ParseLimits& limits_;
  absl::string_view rest_;  // the rest of the piece at position_
  uint64_t position_ = 0;
  uint64_t size_ = 0;
  uint64_t in_place_ = 0;
  uint64_t data_ = 0;
  bool all_known_ = true;
  const Field* too_many_ = nullptr;
  std::array<uint64_t, kCounters> counts_{};
};

}  // namespace

absl::Status MeasureParsed(const Descriptor& type, const SlicedBytes& message,
                           const ParseLimits& limits, ParsedSize& size) {
  const Root* const root = FindRoot(type);
  if (root == nullptr) return absl::InternalError(absl::StrCat(type.full_name(), " has no shape"));
  Walk walk(message, limits);
  walk.Add(root->shape->object_bytes);
  const bool read = walk.Message(*root->shape, message.size(), 0);
  if (const Field* const field = walk.too_many(); field != nullptr) {
    return Invalid(
        field->path, " must have at most ", walk.Most(*field),
        field->bound == Bound::kRows ? " entries, as many as a call may have rows" : " entries",
        ", got more");
  }
  if (walk.too_large()) {
    return Invalid("the request must take at most ", limits.max_bytes,
                   " bytes once it is parsed, its ", message.size(), " bytes would take more");
  }
  if (!read) {
    return NotOfType(type.full_name(), message.size());
  }
  size.kept = walk.size();
  size.data = walk.data();
  size.all_known = walk.all_known();
  // ParseSliced copies all other bytes, some of them twice, into strings that double.
  size.scratch = root->sliced ? 3 * (message.size() - walk.in_place()) : 0;
  return absl::OkStatus();
}

}  // namespace token_sampler
