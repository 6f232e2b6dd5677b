#include "parse.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace steelyard::tools {
namespace {

using testing::ElementsAre;

// A program with a subcommand of each kind of option.
struct Program {
  Program() {
    CLI::App* command = app.add_subcommand("quantize", "");
    command->add_option("model", model)->required();
    command->add_option("--imatrix", imatrix);
    command->add_option("-c,--ctx-size", ctx_size)->check(CLI::Range(1, 100));
    command->add_option("--tensor-type", rules)->allow_extra_args(false);
    command->add_flag("--pure", pure);
    command->callback([this] { ++runs; });
    app.add_subcommand("perplexity", "");
    app.add_subcommand("secret", "")->group("");
  }

  // What is said of a command line that is refused.
  std::string error(std::vector<std::string> arguments) {
    try {
      parse(app, std::move(arguments));
    } catch (const Error& error) {
      return error.what();
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    return "";
  }

  CLI::App app{"", "steelyard"};
  std::string model, imatrix;
  int ctx_size = 0, runs = 0;
  std::vector<std::string> rules;
  bool pure = false;
};

TEST(Parse, OfSeveralValuesTheLastCounts) {
  Program program;
  parse(program.app,
        {"quantize", "a", "-c", "1", "--imatrix", "x", "--pure", "--ctx-size=2", "--imatrix", "y", "--pure"});
  EXPECT_EQ(program.ctx_size, 2);
  EXPECT_EQ(program.imatrix, "y");
  EXPECT_TRUE(program.pure);
  EXPECT_EQ(program.runs, 1);
}

TEST(Parse, ListsTakeAllValues) {
  Program program;
  parse(program.app, {"quantize", "--tensor-type", "a=F16", "model", "--tensor-type", "b=F32"});
  EXPECT_THAT(program.rules, ElementsAre("a=F16", "b=F32"));
  EXPECT_EQ(program.model, "model");
}

TEST(Parse, LlamasFlagsAreUnderstood) {
  Program program;
  parse(program.app, {"quantize", "-fa", "on", "--no-mmap", "model"});
  EXPECT_EQ(program.model, "model");
}

TEST(Parse, MisspeltFlags) {
  EXPECT_EQ(Program().error({"quantize", "a", "--imatix", "x"}), "unknown option --imatix; did you mean --imatrix?");
  EXPECT_EQ(Program().error({"quantize", "--imatix=x", "a"}), "unknown option --imatix; did you mean --imatrix?");
  // Even if something else is missing.
  EXPECT_EQ(Program().error({"quantize", "--imatix"}), "unknown option --imatix; did you mean --imatrix?");
  EXPECT_EQ(Program().error({"quantize", "a", "--ctx-size", "101", "--pur"}),
            "unknown option --pur; did you mean --pure?");
  EXPECT_EQ(Program().error({"quantize", "a", "--frobnicate"}),
            "unknown option --frobnicate; steelyard quantize --help lists the options");
}

TEST(Parse, MisspeltSubcommands) {
  EXPECT_EQ(Program().error({"quantise", "a", "b"}), "unknown subcommand \"quantise\"; did you mean quantize?");
  EXPECT_EQ(Program().error({"weigh"}), "unknown subcommand \"weigh\"; steelyard --help lists them");
  EXPECT_EQ(Program().error({"secre"}), "unknown subcommand \"secre\"; steelyard --help lists them");
}

TEST(Parse, OneArgumentTooMany) { EXPECT_EQ(Program().error({"quantize", "a", "b"}), "unexpected argument \"b\""); }

TEST(Parse, NothingRunsAfterAnError) {
  Program program;
  program.error({"quantize", "a", "--imatix", "x"});
  EXPECT_EQ(program.runs, 0);
}

TEST(Parse, OtherErrorsStay) {
  EXPECT_THAT(Program().error({"quantize", "a", "-c", "101"}), testing::HasSubstr("--ctx-size"));
  EXPECT_THAT(Program().error({"quantize"}), testing::HasSubstr("required"));
  Program program;
  EXPECT_THROW(parse(program.app, {"quantize", "--help"}), CLI::CallForHelp);
}

}  // namespace
}  // namespace steelyard::tools
