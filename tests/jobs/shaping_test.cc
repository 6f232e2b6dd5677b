// Options that shape the bytes: as JSON in a file, and as the flags that version 0.1.0 recorded.
#include "jobs/shaping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/error.h"
#include "error_of.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

using test::error_of;

const ShapingOptions kAll{
    .effort = "best",
    .prior_weight = 0.1,
    .include_weights = {"attn", "ffn"},
    .exclude_weights = {"gate"},
    .override_kv = {"general.name=str:a=b", "x.y=bool:false"},
    .prune_layers = "3,7-9",
    .allow_requantize = true,
    .ctx_size = 256,
    .chunks = 16,
    .own_share = 0.5,
    .writing = {.seed = 7, .temp = 0.8, .top_p = 0.9, .chats = 0.25, .excerpts = 0.125, .excerpts_of = "text.txt"},
    .conversations_share = 0.75,
    .split_max_size = uint64_t{3} << 40};

TEST(Shaping, RecordedOptionsReadBackTheSame) {
  for (const ShapingOptions& options : {ShapingOptions(), kAll, ShapingOptions{.keep_split = true}}) {
    const std::string recorded = recorded_options(options);
    EXPECT_EQ(to_json(read_options(recorded, "f.gguf")), to_json(options)) << recorded;
    EXPECT_EQ(recorded_options(read_options(recorded, "f.gguf")), recorded);
  }
}

// Defaults are others in another version.
TEST(Shaping, DefaultsAreRecorded) {
  EXPECT_EQ(recorded_options({}),
            R"({"effort":"normal","prior_weight":4.0,"include_weights":[],"exclude_weights":[],"override_kv":[],)"
            R"("prune_layers":"","allow_requantize":false,"ctx_size":512,"chunks":0,"own_share":0.75,)"
            R"("seed":0,"temp":1.0,"top_p":1.0,"chats":0.75,"excerpts":0.0,"excerpts_of":"",)"
            R"("conversations_share":0.25,"split_max_size":0,"keep_split":false})");
}

TEST(Shaping, DamagedRecordsAreRefused) {
  const auto read = [](const std::string& text) { return error_of([&] { read_options(text, "f.gguf"); }); };
  EXPECT_THAT(read("{\"effort\":"), HasSubstr("f.gguf: key 'steelyard.options' is no JSON"));
  EXPECT_THAT(read("[]"), HasSubstr("f.gguf"));
  const std::string nested = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_THAT(read(R"({"effort":)" + nested + R"(,"chunks":1})"), HasSubstr("is no JSON"));
  EXPECT_THAT(read(R"({"effort":"best","haste":1})"), HasSubstr("f.gguf: unknown option \"haste\""));
  EXPECT_THAT(read(R"({"effort":1})"), HasSubstr("expected text"));
  EXPECT_THAT(read(R"({"effort":"better"})"), HasSubstr("expected fast, normal or best"));
}

TEST(Shaping, TextThatJsonCannotHoldIsRefused) {
  EXPECT_THAT(error_of([] { recorded_options({.prune_layers = "\xff"}); }), HasSubstr("not UTF-8"));
}

TEST(Shaping, FlagsOfTheFirstVersion) {
  const ShapingOptions options =
      read_arguments({"--effort=best", "--prior-weight=0.1", "--include-weights=attn", "--include-weights=ffn",
                      "--exclude-weights=gate", "--override-kv=general.name=str:a=b", "--override-kv=x.y=bool:false",
                      "--prune-layers=3,7-9", "--allow-requantize=true", "--ctx-size=0x100", "--chunks=16",
                      "--split-max-size=3298534883328"},
                     "f.gguf");
  ShapingOptions expected = kAll;  // but what it did not have
  expected.own_share = ShapingOptions().own_share;
  expected.writing = {};
  expected.conversations_share = ShapingOptions().conversations_share;
  EXPECT_EQ(to_json(options), to_json(expected));
  EXPECT_EQ(to_json(read_arguments({"--effort=normal", "--prior-weight=4", "--ctx-size=512", "--chunks=128"}, "")),
            to_json(ShapingOptions{.chunks = 128}));
  EXPECT_TRUE(read_arguments({"--keep-split=true"}, "").keep_split);
}

TEST(Shaping, OtherFlagsAreRefused) {
  const auto read = [](const std::string& word) { return error_of([&] { read_arguments({word}, "f.gguf"); }); };
  for (const char* word : {"--haste=1", "effort=best", "", "-c=512", "--strict=true", "--seed=1"}) {
    EXPECT_THAT(read(word), HasSubstr("f.gguf: records flags that this program does not know: ")) << word;
  }
  for (const char* word : {"--chunks=many", "--chunks=", "--chunks=99999999999999999999", "--prior-weight=4x",
                           "--allow-requantize=perhaps", "--split-max-size=1GiB"}) {
    EXPECT_THAT(read(word), HasSubstr("f.gguf: records \"")) << word;
  }
}

TEST(Shaping, ValuesOutOfRange) {
  const auto check = [](const ShapingOptions& options) { return error_of([&] { options.check(); }); };
  EXPECT_EQ(check(kAll), "");
  EXPECT_THAT(check({.effort = "Best"}), HasSubstr("--effort"));
  EXPECT_THAT(check({.prior_weight = -1}), HasSubstr("--prior-weight"));
  EXPECT_THAT(check({.prior_weight = std::numeric_limits<double>::quiet_NaN()}), HasSubstr("--prior-weight"));
  EXPECT_THAT(check({.ctx_size = 1}), HasSubstr("--ctx-size"));
  EXPECT_THAT(check({.ctx_size = (1 << 20) + 1}), HasSubstr("--ctx-size"));
  EXPECT_THAT(check({.chunks = -1}), HasSubstr("--chunks"));
  EXPECT_THAT(check({.split_max_size = 1, .keep_split = true}), HasSubstr("--keep-split"));
}

}  // namespace
}  // namespace steelyard::jobs
