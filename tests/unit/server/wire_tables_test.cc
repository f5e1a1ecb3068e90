// Tests the tables of the sampler against the contract: every field and every enum of it has a row.

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "sampler/params/sampling_params.h"
#include "sampler/params/stage_table.h"
#include "server/codec/params_codec.h"
#include "server/codec/wire_enums.h"

namespace token_sampler {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool IsScalar(const FieldDescriptor& field) {
  return !field.is_repeated() && field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE &&
         field.cpp_type() != FieldDescriptor::CPPTYPE_ENUM;
}

// Collects the paths of all scalars in the message and in its nested messages.
void AddScalars(const Descriptor& message, const std::string& prefix,
                std::set<std::string>& names) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (IsScalar(field)) names.insert(prefix + field.name());
    if (!field.is_repeated() && field.message_type() != nullptr) {
      AddScalars(*field.message_type(), absl::StrCat(prefix, field.name(), "."), names);
    }
  }
}

TEST(ScalarParamTest, TheContractAndTheTableHaveTheSameScalars) {
  std::set<std::string> in_contract;
  AddScalars(*v1::SamplingParams::descriptor(), "", in_contract);
  std::set<std::string> in_table;
  for (const ScalarParam& scalar : kScalarParams) {
    EXPECT_TRUE(in_table.emplace(scalar.name).second) << scalar.name << " stands there twice";
  }
  EXPECT_EQ(in_table, in_contract);
}

TEST(ScalarParamTest, SetsAndGetsItsOwnMember) {
  for (const ScalarParam& scalar : kScalarParams) {
    SCOPED_TRACE(scalar.name);
    SamplingParams params;
    const double value = scalar.get(params) == 1.0 ? 0.0 : 1.0;
    scalar.set(params, value);
    EXPECT_TRUE(scalar.is_there(params));
    EXPECT_EQ(scalar.get(params), value);
    // No other parameter has changed, in the same struct or elsewhere.
    SamplingParams other;
    scalar.set(other, scalar.get(params));
    for (const ScalarParam& untouched : kScalarParams) {
      if (untouched.name == scalar.name || absl::StrContains(untouched.name, '.')) continue;
      EXPECT_EQ(untouched.get(other), untouched.get(SamplingParams())) << untouched.name;
    }
  }
}

TEST(ScalarParamTest, DefaultsAreInRange) {
  SamplingParams params;
  params.temperature_schedule.emplace();
  params.dynamic_temperature.emplace();
  params.greedy_threshold = 1.0;
  params.mirostat.emplace();
  params.adaptive_p.emplace();
  params.top_p_decay.emplace();
  for (const ScalarParam& scalar : kScalarParams) {
    EXPECT_TRUE(scalar.range.Contains(scalar.get(params))) << scalar.name;
  }
}

// Sets the field at the path, and other fields that the codec requires with it.
void SetNumber(absl::string_view path, double value, Message& message) {
  const size_t dot = path.find('.');
  const FieldDescriptor& field =
      *message.GetDescriptor()->FindFieldByName(std::string(path.substr(0, dot)));
  const auto& reflection = *message.GetReflection();
  if (dot != absl::string_view::npos) {
    Message& inner = *reflection.MutableMessage(&message, &field);
    for (int i = 0; i < inner.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor& sibling = *inner.GetDescriptor()->field(i);
      if (sibling.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        inner.GetReflection()->SetEnumValue(&inner, &sibling, 1);
      } else if (IsScalar(sibling)) {
        SetNumber(sibling.name(), 1.0, inner);
      }
    }
    return SetNumber(path.substr(dot + 1), value, inner);
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, value);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, static_cast<uint32_t>(value));
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, static_cast<int32_t>(value));
    default:
      return reflection.SetBool(&message, &field, value != 0.0);
  }
}

TEST(ScalarParamTest, IsDecodedFromItsField) {
  for (const ScalarParam& scalar : kScalarParams) {
    SCOPED_TRACE(scalar.name);
    for (const double value : {0.0, 1.0}) {
      v1::SamplingParams message;
      message.add_stop_ids(1);  // which min_tokens needs
      SetNumber(scalar.name, value, message);
      SamplingParams params;
      const absl::Status status = DecodeParams(message, 0, params);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(scalar.get(params), value);
    }
  }
}

TEST(ScalarParamTest, RangesAreWrittenAsPeopleDo) {
  EXPECT_EQ(Closed(0, 1e6).ToString(), "in [0, 1e6]");
  EXPECT_EQ(Closed(-1e6, 1e6).ToString(), "in [-1e6, 1e6]");
  EXPECT_EQ(Closed(1, 16777215).ToString(), "in [1, 16777215]");
  EXPECT_EQ(Above(0, 1e3).ToString(), "in (0, 1000]");
  EXPECT_EQ(Below(0, 1).ToString(), "in [0, 1)");
  EXPECT_EQ(Closed(0, 0.99).ToString(), "in [0, 0.99]");
  EXPECT_EQ(ZeroOr(1e-6, 1e6).ToString(), "0 or in [1e-6, 1e6]");
  EXPECT_EQ(AtLeast(-1).ToString(), "at least -1");
}

TEST(OutputTableTest, HasEachOptionOfTheContractButModes) {
  std::set<std::string> in_contract;
  const Descriptor& message = *v1::OutputOptions::descriptor();
  for (int i = 0; i < message.field_count(); ++i) {
    if (IsScalar(*message.field(i))) in_contract.insert(message.field(i)->name());
  }
  std::set<std::string> in_table;
  for (const OutputInfo& info : kOutputs) {
    if (!info.option.empty()) in_table.emplace(info.option);
    EXPECT_FALSE(info.is_asked(OutputOptions())) << info.option;
  }
  EXPECT_EQ(in_table, in_contract);
  EXPECT_TRUE(TokensOnly(OutputOptions()));
  EXPECT_FALSE(WantsDetails({.kept_set = true}));
  EXPECT_FALSE(TokensOnly({.kept_set = true}));
  EXPECT_TRUE(WantsDistribution({.entropy = true}));
}

TEST(OutputTableTest, BoundsTheValuesOfARow) {
  const RowSize row = {.draws = 3, .vocab = 100, .most_kept = 20};
  EXPECT_EQ(MostValues({}, row), 3u);
  EXPECT_EQ(MostValues({.logprobs = true, .top_logprobs = 5, .ranks = true}, row), 3u * 3 + 2 * 5);
  EXPECT_EQ(MostValues({.top_logprobs = 1000}, row), 3u + 2 * 100);
  EXPECT_EQ(MostValues({.kept_set = true}, row), 3u + 2 * 20);
  EXPECT_EQ(MostValues({.gumbel_softmax = 1.0}, row), 3u + 3 * 100);
}

TEST(StageTableTest, HasTheNumbersAndNamesOfTheContract) {
  const google::protobuf::EnumDescriptor& stages = *v1::Stage_descriptor();
  for (int i = 0; i < stages.value_count(); ++i) {
    const auto wire = static_cast<v1::Stage>(stages.value(i)->number());
    if (wire == v1::STAGE_UNSPECIFIED) continue;
    EXPECT_EQ(stages.value(i)->name(), absl::StrCat("STAGE_", StageName(FromWire(wire))));
  }
}

// By default every stage is off.
TEST(StageTableTest, NoStageIsOnByDefault) {
  for (const StageInfo& info : kStages) {
    EXPECT_FALSE(info.is_on(SamplingParams())) << info.name;
    EXPECT_EQ(info.has_state != nullptr, !info.state_param.empty()) << info.name;
  }
}

TEST(StageTableTest, OrdersNameEveryStageOnceButTheJointOneOrItsTwo) {
  for (const StageOrder& order : {kVllmOrder, kHfOrder, kLlamaCppOrder}) {
    EXPECT_EQ(order.size(), kNumStages - 1);
    EXPECT_FALSE(order.Contains(Stage::kTopKTopP));
  }
  EXPECT_EQ(kSglangOrder.size(), kNumStages - 2);
  EXPECT_TRUE(kSglangOrder.Contains(Stage::kTopKTopP));
}

}  // namespace
}  // namespace token_sampler
