// steelyard chat: what a template makes of messages, a conversation line by line, and what is refused.
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/failure.h"
#include "support.h"

namespace steelyard::test {
namespace {

class Chat : public FailureTest {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/lib/python3/dist-packages/jinja2")) {
      GTEST_SKIP() << "python3-jinja2 is not installed";
    }
  }

  static CommandResult run(std::vector<std::string> arguments, const CommandLimits& limits = {}) {
    arguments.insert(arguments.begin(), {STEELYARD_BINARY, "chat"});
    return run_command(arguments, limits);
  }
};

TEST_F(Chat, RendersAsTheGoldens) {
  const nlohmann::ordered_json cases =
      nlohmann::ordered_json::parse(read_text(golden("chat/google-gemma-2-2b-it.json")));
  size_t n_errors = 0;
  for (const auto& one : cases) {
    const CommandResult result = run({"--render", file("input", one.at("input").dump()), "--chat-template",
                                      golden("chat/google-gemma-2-2b-it.jinja")});
    if (one.contains("output")) {
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_EQ(result.out, one.at("output"));
    } else {
      ++n_errors;
      EXPECT_EQ(result.exit_code, 1);
      EXPECT_EQ(result.out, "");
      EXPECT_TRUE(result.err.ends_with(": " + one.at("error").get<std::string>() + "\n")) << result.err;
    }
  }
  EXPECT_GT(n_errors, 0u);
}

TEST_F(Chat, AnswersLineByLine) {
  CommandLimits limits;
  limits.input = file(
      "input", "/system Be brief.\nhello\nagain\n/regen\n/help\n/save " + (folder_ / "saved") + "\n/exit\nnever\n");
  const CommandResult result =
      run({"-m", std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf", "--chat-template",
           file("t", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"), "-n", "4", "--temp", "0",
           "-c", "256"},
          limits);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("/regen: another answer"), std::string::npos) << result.err;
  const nlohmann::json saved = nlohmann::json::parse(read_text((folder_ / "saved")));
  std::string roles;
  for (const auto& message : saved.at("messages")) roles += message.at("role").get<std::string>() + " ";
  EXPECT_EQ(roles, "system user assistant user assistant ");
}

TEST_F(Chat, RefusesInOneLine) {
  const auto refused = [&](const std::vector<std::string>& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 1);
    return result.err;
  };
  EXPECT_EQ(refused({}), "steelyard: --model is required\n");
  EXPECT_EQ(refused({"--render", file("i", "{}")}),
            "steelyard: give a model with -m, or a template with --chat-template\n");
  EXPECT_EQ(refused({"--render", file("i", "[]"), "--chat-template", file("t", "x")}),
            "steelyard: " + (folder_ / "i") + ": expected a JSON object\n");
}

}  // namespace
}  // namespace steelyard::test
