// Man pages and completions: whatever --help shows is in all of them. What there is comes from --help itself, so a new
// option is tested without a line here.
#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool installed(const std::string& program) { return std::filesystem::exists(program); }

// The first words of the lines that stand indented under `heading`.
std::vector<std::string> names_under(const std::string& heading, const std::string& help) {
  std::vector<std::string> names;
  bool within = false;
  for (const std::string& line : lines_of(help)) {
    if (!line.starts_with(' ')) within = line == heading;
    if (within && line.starts_with("  ") && line.size() > 2 && line[2] != ' ') {
      names.push_back(line.substr(2, line.find_first_of(" ,", 2) - 2));
    }
  }
  return names;
}

// Flags of a --help: "  -c,--ctx-size INT ..." has two.
std::set<std::string> flags_in(const std::string& help) {
  static const std::regex line_with_flags("^  (-[^ ]*)");
  std::set<std::string> flags;
  for (const std::string& line : lines_of(help)) {
    std::smatch found;
    if (!std::regex_search(line, found, line_with_flags)) continue;
    std::istringstream names(found[1].str());
    for (std::string name; std::getline(names, name, ',');) flags.insert(name);
  }
  return flags;
}

std::string without(std::string text, const std::string& part) {
  for (size_t at; (at = text.find(part)) != std::string::npos;) text.erase(at, part.size());
  return text;
}

class Documents : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    generated_ = new CommandResult(run({"generate-docs", *folder_ / "share"}));
    for (const std::string& name : names_under("Subcommands:", run({"--help"}).out)) {
      (*flags_)[name] = flags_in(run({name, "--help"}).out);
    }
  }
  static void TearDownTestSuite() {
    delete folder_;
    delete generated_;
  }
  void SetUp() override {
    ASSERT_EQ(generated_->exit_code, 0) << generated_->err;
    ASSERT_GE(flags_->size(), 9u) << "--help is not read as it is written";
  }

  static std::string path(const std::string& name) { return *folder_ / "share/" + name; }
  static std::string page(const std::string& command) { return path("man/man1/steelyard-" + command + ".1"); }
  static std::string bash() { return path("bash-completion/completions/steelyard"); }
  static std::string zsh() { return path("zsh/vendor-completions/_steelyard"); }
  static std::string fish() { return path("fish/vendor_completions.d/steelyard.fish"); }

  // What bash offers for the last of `words`; "<files>" where it is told to offer files.
  static std::set<std::string> offered(const std::vector<std::string>& words) {
    std::string list;
    for (const std::string& word : words) list += " '" + word + "'";
    const CommandResult result = run_command(
        {"/bin/bash", "-c",
         "set -u; source '" + bash() + "'; files=; compopt() { [ \"$*\" = '-o default' ] && files=yes; }; " +
             "COMP_WORDS=(steelyard" + list + "); COMP_CWORD=" + std::to_string(words.size()) +
             "; _steelyard; [ -z \"$files\" ] || echo '<files>'; " +
             "[ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' \"${COMPREPLY[@]}\""});
    EXPECT_EQ(result.err, "");
    const std::vector<std::string> found = lines_of(result.out);
    return {found.begin(), found.end()};
  }

  static inline TempFolder* folder_ = nullptr;
  static inline CommandResult* generated_ = nullptr;
  static inline std::map<std::string, std::set<std::string>>* flags_ = new std::map<std::string, std::set<std::string>>;
};

using Words = std::set<std::string>;

TEST_F(Documents, EveryCommandHasAPageWithAllItsFlags) {
  const std::string program = read_text(path("man/man1/steelyard.1"));
  for (const auto& [command, flags] : *flags_) {
    EXPECT_TRUE(contains(program, "steelyard\\-" + command)) << command;
    const std::string text = without(read_text(page(command)), "\\-\\-");
    EXPECT_GE(flags.size(), 3u) << command;
    for (const std::string& flag : flags) {
      const std::string name = flag.starts_with("--") ? flag.substr(2) : flag;
      const std::string bold = "\\fB" + std::regex_replace(name, std::regex("-"), "\\-") + "\\fR";
      EXPECT_TRUE(contains(text, bold)) << "steelyard-" << command << ".1 lacks " << flag;
    }
  }
}

TEST_F(Documents, EveryShellCompletesAllCommandsAndFlags) {
  const std::string zsh_text = read_text(zsh()), fish_text = read_text(fish());
  const Words commands = offered({""});
  for (const auto& [command, flags] : *flags_) {
    EXPECT_TRUE(commands.contains(command)) << command;
    EXPECT_TRUE(contains(zsh_text, "'" + command + ":")) << command;
    EXPECT_TRUE(contains(fish_text, "-a " + command + " -d ")) << command;
    EXPECT_EQ(offered({command, "-"}), flags) << command;
    for (const std::string& flag : flags) {
      if (!flag.starts_with("--")) continue;
      EXPECT_TRUE(contains(zsh_text, ")" + flag) || contains(zsh_text, "*" + flag)) << command << " " << flag;
      EXPECT_TRUE(std::ranges::any_of(lines_of(fish_text),
                                      [&](const std::string& line) {
                                        return contains(line, "_from " + command) &&
                                               contains(line + " ", " -l " + flag.substr(2) + " ");
                                      }))
          << command << " " << flag;
    }
  }
}

TEST_F(Documents, BashCompletesValues) {
  EXPECT_EQ(offered({"quantize", "--effort", ""}), (Words{"fast", "normal", "best"}));
  EXPECT_EQ(offered({"quantize", "--effort", "=", "b"}), (Words{"best"}));
  EXPECT_EQ(offered({"quantize", "--effort", "="}), (Words{"fast", "normal", "best"}));
  EXPECT_EQ(offered({"plan", "--preset", "Q4_K"}), (Words{"Q4_K_M", "Q4_K_S"}));
  EXPECT_EQ(offered({"perplexity", "--backend", "cpu,r"}), (Words{"cpu,ref"}));
  EXPECT_EQ(offered({"run", "--cache-type-k", "q8"}), (Words{"q8_0"}));
  EXPECT_EQ(offered({"quantize", "--plan", ""}), (Words{"<files>"}));
  EXPECT_EQ(offered({"quantize", "--calibrate", ""}), (Words{"<files>"}));
  EXPECT_EQ(offered({"write", "--excerpts-of", ""}), (Words{"<files>"}));
  EXPECT_EQ(offered({"write", "--temp", ""}), Words{}) << "a number";
  EXPECT_EQ(offered({"perplexity", "-m", ""}), (Words{"<files>"}));
  EXPECT_EQ(offered({"perplexity", "--chunks", ""}), Words{}) << "a number";
  EXPECT_EQ(offered({"fit", "--vram", ""}), Words{}) << "a size";
}

TEST_F(Documents, BashCompletesArguments) {
  EXPECT_EQ(offered({"quantize", ""}), (Words{"<files>"}));
  EXPECT_EQ(offered({"quantize", "in.gguf", ""}), (Words{"<files>"}));
  EXPECT_TRUE(offered({"quantize", "in.gguf", "out.gguf", ""}).contains("Q4_K_M"));
  EXPECT_EQ(offered({"quantize", "in.gguf", "out.gguf", "IQ4_"}), (Words{"<files>", "IQ4_NL", "IQ4_XS"}));
  // Values of flags are no arguments.
  EXPECT_EQ(offered({"quantize", "--effort", "best", "in.gguf", "--imatrix", "=", "i", ""}), (Words{"<files>"}));
  EXPECT_EQ(offered({"inspect", "a", "b"}), (Words{"<files>"}));
  EXPECT_EQ(offered({"qua"}), (Words{"quantize"}));
}

TEST_F(Documents, HiddenCommandsStayHidden) {
  EXPECT_FALSE(contains(run({"--help"}).out, "generate-docs"));
  EXPECT_FALSE(offered({""}).contains("generate-docs"));
  EXPECT_FALSE(std::filesystem::exists(page("generate-docs")));
}

TEST_F(Documents, PagesAreTroffWithoutWarnings) {
  if (!installed("/usr/bin/groff")) GTEST_SKIP() << "groff is not installed";
  std::vector<std::string> command = {"/usr/bin/groff", "-man", "-ww", "-z", "-Tascii", path("man/man1/steelyard.1")};
  for (const auto& [name, flags] : *flags_) command.push_back(page(name));
  const CommandResult result = run_command(command);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(Documents, BashReadsItsScript) { EXPECT_EQ(run_command({"/bin/bash", "-n", bash()}).err, ""); }

TEST_F(Documents, ZshReadsItsScript) {
  if (!installed("/usr/bin/zsh")) GTEST_SKIP() << "zsh is not installed";
  const CommandResult result = run_command({"/usr/bin/zsh", "-n", zsh()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(Documents, FishReadsItsScript) {
  if (!installed("/usr/bin/fish")) GTEST_SKIP() << "fish is not installed";
  const CommandResult result = run_command({"/usr/bin/fish", "--no-execute", fish()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(Documents, AFolderThatCannotBeMade) {
  const CommandResult result = run({"generate-docs", "/dev/null/documents"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(is_one_line(result.err)) << result.err;
}

}  // namespace
}  // namespace steelyard::test
