// Every row of backends.def: how its name is read, what it makes, and that texts for people mention it.
#include "compute/backends.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "base/error.h"
#include "error_of.h"

namespace steelyard::compute {
namespace {

using testing::HasSubstr;

using test::error_of;

class Backends : public testing::TestWithParam<BackendKind> {
 protected:
  const BackendKind& kind_ = GetParam();
  const std::string name_{kind_.name};
};

TEST_P(Backends, AreAddressedAsTheTableSays) {
  const auto found = parse_backend_name(name_);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->kind->name, name_);
  EXPECT_EQ(found->device, 0);
  const auto second = parse_backend_name(name_ + ":17");
  ASSERT_EQ(second.has_value(), kind_.addressing == BackendKind::kNumbered);
  if (second) {
    EXPECT_EQ(second->device, 17);
  }
  for (const char* rest : {":", ":-1", ":x", ":1x", ": 1", ":99999999999", "1", " ", ":0:0"}) {
    EXPECT_FALSE(parse_backend_name(name_ + rest).has_value()) << rest;
  }
}

TEST_P(Backends, AreMentioned) {
  EXPECT_THAT(known_backends(), HasSubstr(kind_.spelling()));
  EXPECT_THAT(describe_backends(), HasSubstr(kind_.spelling(" or ") + ": " + std::string(kind_.purpose)));
  EXPECT_THAT(error_of([] { make_backend("abacus"); }), HasSubstr("(known: " + known_backends() + ")"));
  EXPECT_EQ(std::ranges::count(backend_kinds(), kind_.name, &BackendKind::name), 1);
  EXPECT_FALSE(kind_.purpose.empty());
}

TEST_P(Backends, AreMadeOrSayWhatBuildsThemIn) {
  if (!kind_.is_built_in()) {
    EXPECT_THAT(error_of([&] { make_backend(name_); }), HasSubstr(std::string(kind_.option) + "=ON"));
    EXPECT_THAT(error_of([&] { make_device_encoder(name_); }), HasSubstr(std::string(kind_.option) + "=ON"));
    EXPECT_FALSE(kind_.option.empty());
    return;
  }
  if (kind_.addressing == BackendKind::kNumbered) GTEST_SKIP() << "not every machine has a device";
  EXPECT_EQ(make_backend(name_)->name(), name_);
  EXPECT_EQ(device_address(name_), "");
  if (kind_.make_encoder == nullptr) {
    EXPECT_THAT(error_of([&] { make_device_encoder(name_); }), HasSubstr("known: " + encoding_backends()));
  } else {
    EXPECT_THAT(encoding_backends(), HasSubstr(name_));
    EXPECT_EQ(make_device_encoder(name_), nullptr);
  }
}

TEST_P(Backends, HaveMemory) {
  if (!kind_.is_built_in() || kind_.addressing == BackendKind::kNumbered) GTEST_SKIP() << "not every machine has it";
  const auto backend = make_backend(name_);
  const Buffer buffer = backend->allocate(13);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.get()) % 64, 0u);
  const std::string text = "thirteen byte";
  std::string back(13, ' ');
  backend->upload(buffer.get(), text.data(), 13);
  backend->download(back.data(), buffer.get(), 13);
  EXPECT_EQ(back, text);
  backend->zero(buffer.get(), 13);
  backend->download(back.data(), buffer.get(), 13);
  EXPECT_EQ(back, std::string(13, '\0'));
  EXPECT_NE(backend->allocate(0), nullptr);
}

INSTANTIATE_TEST_SUITE_P(All, Backends, testing::ValuesIn(backend_kinds().begin(), backend_kinds().end()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(BackendNames, OthersAreUnknown) {
  for (const char* name : {"", "abacus", "CPU", "cpu ", ":0"}) {
    EXPECT_FALSE(parse_backend_name(name).has_value()) << name;
    EXPECT_THROW(make_backend(name), Error) << name;
    EXPECT_THROW(make_device_encoder(name), Error) << name;
  }
}

TEST(BackendNames, AsPeopleReadThem) {
  EXPECT_EQ(known_backends(), "cpu, cuda, cuda:N, ref");
  EXPECT_EQ(encoding_backends(), "cpu, cuda, cuda:N");
  EXPECT_EQ(describe_backends(), "cpu: the processor; cuda or cuda:N: an NVIDIA GPU; ref: the slow specification");
}

}  // namespace
}  // namespace steelyard::compute
