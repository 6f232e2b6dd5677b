// Typed access: every conversion that is promised, every one that is refused, and bytes that stay as they are.
#include "gguf/metadata.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf_bytes.h"

namespace steelyard::gguf {
namespace {

constexpr std::string_view kOddText("a\xff\0b\n", 5);

Metadata sample() {
  Metadata m("model.gguf");
  m.set({"u8", ValueType::kUint8, num<uint8_t>(200)});
  m.set({"i8", ValueType::kInt8, num<int8_t>(-7)});
  m.set({"u16", ValueType::kUint16, num<uint16_t>(65535)});
  m.set({"i16", ValueType::kInt16, num<int16_t>(-300)});
  m.set({"u32", ValueType::kUint32, num<uint32_t>(4000000000u)});
  m.set({"i32", ValueType::kInt32, num<int32_t>(-5)});
  m.set({"f32", ValueType::kFloat32, num(1.5f)});
  m.set({"yes", ValueType::kBool, "\x01"});
  m.set({"odd yes", ValueType::kBool, "\x02"});
  m.set({"no", ValueType::kBool, std::string(1, '\0')});
  m.set({"text", ValueType::kString, str(kOddText)});
  m.set({"u64", ValueType::kUint64, num(std::numeric_limits<uint64_t>::max())});
  m.set({"i64", ValueType::kInt64, num(std::numeric_limits<int64_t>::min())});
  m.set({"f64", ValueType::kFloat64, num(0.1)});
  m.set({"ints", ValueType::kArray, arr(kI16, 3, num<int16_t>(1) + num<int16_t>(-2) + num<int16_t>(3))});
  m.set({"floats", ValueType::kArray, arr(kF32, 2, num(0.5f) + num(-2.0f))});
  m.set({"bools", ValueType::kArray, arr(kBool, 2, std::string("\x01\x00", 2))});
  m.set({"strings", ValueType::kArray, arr(kStr, 3, str("a") + str("") + str("ccc"))});
  m.set({"nothing", ValueType::kArray, arr(kU64, 0, "")});
  m.set({"huge", ValueType::kArray, arr(kU64, 1, num(std::numeric_limits<uint64_t>::max()))});
  return m;
}

TEST(MetadataTest, IntegersOfAnyWidth) {
  const Metadata m = sample();
  EXPECT_EQ(m.integer("u8"), 200);
  EXPECT_EQ(m.integer("i8"), -7);
  EXPECT_EQ(m.integer("u16"), 65535);
  EXPECT_EQ(m.integer("i16"), -300);
  EXPECT_EQ(m.integer("u32"), 4000000000);
  EXPECT_EQ(m.integer("i32"), -5);
  EXPECT_EQ(m.integer("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(m.integer("yes"), 1);
  EXPECT_EQ(m.integer("absent", 42), 42);
  EXPECT_EQ(m.integer("u8", 42), 200);
}

TEST(MetadataTest, WhatIsNoIntegerIsRefused) {
  const Metadata m = sample();
  EXPECT_EQ(error_of([&] { m.integer("absent"); }),
            "model.gguf: key 'absent': found none, expected an integer of at most 63 bits");
  EXPECT_EQ(error_of([&] { m.integer("f32"); }),
            "model.gguf: key 'f32': found f32 1.5, expected an integer of at most 63 bits");
  EXPECT_EQ(error_of([&] { m.integer("text", 1); }),
            "model.gguf: key 'text': found string, expected an integer of at most 63 bits");
  EXPECT_EQ(error_of([&] { m.integer("ints"); }),
            "model.gguf: key 'ints': found array of i16, expected an integer of at most 63 bits");
  EXPECT_THROW(m.integer("u64"), Error) << "2^64 - 1 does not fit";
}

TEST(MetadataTest, Reals) {
  const Metadata m = sample();
  EXPECT_EQ(m.real("f32"), 1.5);
  EXPECT_EQ(m.real("f64"), 0.1);
  EXPECT_EQ(m.real("i32"), -5.0);
  EXPECT_EQ(m.real("u64"), 0x1p64);
  EXPECT_EQ(m.real("absent", 0.25), 0.25);
  EXPECT_THROW(m.real("absent"), Error);
  EXPECT_THROW(m.real("text", 1.0), Error);
}

TEST(MetadataTest, Booleans) {
  const Metadata m = sample();
  EXPECT_TRUE(m.boolean("yes", false));
  EXPECT_TRUE(m.boolean("odd yes", false));
  EXPECT_FALSE(m.boolean("no", true));
  EXPECT_TRUE(m.boolean("absent", true));
  EXPECT_EQ(error_of([&] { m.boolean("u8", true); }), "model.gguf: key 'u8': found u8 200, expected a bool");
  EXPECT_THROW(m.boolean("f32", true), Error);
}

TEST(MetadataTest, StringsAreBytes) {
  const Metadata m = sample();
  EXPECT_EQ(m.string("text"), kOddText);
  EXPECT_EQ(m.string("absent", "other"), "other");
  EXPECT_THROW(m.string("absent"), Error);
  EXPECT_THROW(m.string("strings"), Error);
}

TEST(MetadataTest, Arrays) {
  const Metadata m = sample();
  EXPECT_EQ(m.integers("ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(m.integers("bools"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(m.integers("nothing"), std::vector<int64_t>{});
  EXPECT_EQ(m.reals("floats"), (std::vector<double>{0.5, -2.0}));
  EXPECT_EQ(m.reals("ints"), (std::vector<double>{1, -2, 3}));
  EXPECT_EQ(m.strings("strings"), (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_EQ(m.array_size("strings"), 3u);
  EXPECT_EQ(m.array_size("nothing"), 0u);
  EXPECT_EQ(error_of([&] { m.integers("floats"); }),
            "model.gguf: key 'floats': found array of f32, expected an array of integers of at most 63 bits");
  EXPECT_THROW(m.integers("huge"), Error);
  EXPECT_THROW(m.integers("strings"), Error);
  EXPECT_THROW(m.integers("u8"), Error);
  EXPECT_THROW(m.reals("strings"), Error);
  EXPECT_THROW(m.strings("ints"), Error);
  EXPECT_THROW(m.strings("text"), Error);
  EXPECT_THROW(m.array_size("text"), Error);
  EXPECT_THROW(m.array_size("absent"), Error);
}

TEST(MetadataTest, SettersStoreTheDocumentedTypes) {
  Metadata m;
  m.set_integer("i", 7);
  m.set_real("r", 0.5f);
  m.set_boolean("b", true);
  m.set_string("s", "text");
  const std::vector<std::string> texts = {"x", "yz"};
  m.set_strings("ss", texts);
  const auto raw = [&](std::string_view key) { return m.find(key)->raw; };
  EXPECT_EQ(m.find("i")->type, ValueType::kUint32);
  EXPECT_EQ(raw("i"), num<uint32_t>(7));
  EXPECT_EQ(m.find("r")->type, ValueType::kFloat32);
  EXPECT_EQ(raw("r"), num(0.5f));
  EXPECT_EQ(m.find("b")->type, ValueType::kBool);
  EXPECT_EQ(raw("b"), "\x01");
  EXPECT_EQ(m.find("s")->type, ValueType::kString);
  EXPECT_EQ(raw("s"), str("text"));
  EXPECT_EQ(m.find("ss")->type, ValueType::kArray);
  EXPECT_EQ(raw("ss"), arr(kStr, 2, str("x") + str("yz")));
}

TEST(MetadataTest, OrderIsKept) {
  Metadata m;
  for (const char* key : {"c", "a", "b"}) m.set_integer(key, 1);
  m.set_string("a", "replaced in place, even by another type");
  m.erase("c");
  m.erase("absent");
  ASSERT_EQ(m.entries().size(), 2u);
  EXPECT_EQ(m.entries()[0].key, "a");
  EXPECT_EQ(m.entries()[0].type, ValueType::kString);
  EXPECT_EQ(m.entries()[1].key, "b");
}

TEST(MetadataTest, SetRefusesMalformedValues) {
  Metadata m;
  const auto set = [&](ValueType type, const std::string& raw) { m.set({"key", type, raw}); };
  EXPECT_THROW(set(ValueType::kUint32, "abc"), Error);
  EXPECT_THROW(set(ValueType::kUint32, "abcde"), Error);
  EXPECT_THROW(set(ValueType::kString, num<uint64_t>(4) + "abc"), Error);
  EXPECT_THROW(set(ValueType::kArray, arr(kU32, 2, "abcd")), Error);
  EXPECT_THROW(set(ValueType::kArray, arr(kArr, 0, "")), Error);
  EXPECT_THROW(set(static_cast<ValueType>(13), ""), Error);
  EXPECT_TRUE(m.entries().empty());
}

TEST(MetadataTest, Alignment) {
  Metadata m;
  EXPECT_EQ(data_alignment(m), 32u);
  for (const uint32_t good : {1u, 4u, 8u, 24u, 64u, 65536u}) {
    m.set_integer("general.alignment", good);
    EXPECT_EQ(data_alignment(m), good);
  }
  for (const uint32_t bad : {0u, 65537u, 0x80000000u}) {
    m.set_integer("general.alignment", bad);
    EXPECT_THROW(data_alignment(m), Error) << bad;
  }
  m.set({"general.alignment", ValueType::kUint64, num<uint64_t>(32)});
  EXPECT_EQ(error_of([&] { data_alignment(m); }),
            "key 'general.alignment': found u64 32, expected a u32 of 1 to 65536");
}

TEST(MetadataTest, TypeNames) {
  EXPECT_EQ(name(ValueType::kUint8), "u8");
  EXPECT_EQ(name(ValueType::kBool), "bool");
  EXPECT_EQ(name(ValueType::kArray), "array");
  EXPECT_EQ(name(ValueType::kFloat64), "f64");
  EXPECT_EQ(name(static_cast<ValueType>(13)), "unknown type");
}

}  // namespace
}  // namespace steelyard::gguf
