// Every folder of src/ has a namespace of its name, and no two types have the same qualified name: the linker would
// take their member functions for one another's, and nobody would be told. docs/architecture.md says what is where.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

/// What a source declares, by qualified names.
struct Names {
  std::vector<std::string> namespaces;  ///< that are opened and have a name
  std::vector<std::string> types;       ///< defined in one, or in none; what is in anonymous namespaces is left out
};

/// The end of a literal, a comment or a directive that begins at `at`; `at` when none does.
size_t end_of_no_code(std::string_view text, size_t at) {
  const auto after = [&](std::string_view what, size_t from) {
    const size_t found = text.find(what, from);
    return found == std::string_view::npos ? text.size() : found + what.size();
  };
  const std::string_view rest = text.substr(at);
  if (rest.starts_with("//")) return after("\n", at) - 1;
  if (rest.starts_with("/*")) return after("*/", at);
  if (rest.starts_with("R\"")) {
    const size_t open = text.find('(', at);
    return after(")" + std::string(text.substr(at + 2, open - at - 2)) + "\"", open);
  }
  const bool separates_digits = at > 0 && std::isalnum(static_cast<unsigned char>(text[at - 1])) != 0;
  if (rest.starts_with('"') || (rest.starts_with('\'') && !separates_digits)) {
    size_t end = at + 1;
    while (end < text.size() && text[end] != text[at]) end += text[end] == '\\' ? 2 : 1;
    return end + 1;
  }
  if (rest.starts_with('#')) {
    size_t end = after("\n", at) - 1;
    while (text[end - 1] == '\\') end = after("\n", end + 1) - 1;
    return end;
  }
  return at;
}

/// The source without comments, literals and directives.
std::string code_of(std::string_view text) {
  std::string code;
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_of_no_code(text, at);
    code += end == at ? text[at] : ' ';
    at = end == at ? at + 1 : end;
  }
  return code;
}

/// A declaration without the `template <...>` before it.
std::string without_template(std::string declaration) {
  while (std::regex_search(declaration, std::regex(R"(^\s*template\s*<)"))) {
    size_t end = declaration.find('<');
    for (int depth = 0; end < declaration.size();) {
      depth += declaration[end] == '<' ? 1 : declaration[end] == '>' ? -1 : 0;
      ++end;
      if (depth == 0) break;
    }
    declaration.erase(0, end);
  }
  return declaration;
}

/// What stands before a brace names what the brace begins: a namespace that is entered, or something that is skipped.
class Scanner {
 public:
  explicit Scanner(std::string code) : code_(std::move(code)) {}

  Names scan() {
    std::string before;
    int parentheses = 0;
    for (at_ = 0; at_ < code_.size(); ++at_) {
      const char c = code_[at_];
      parentheses += c == '(' ? 1 : c == ')' ? -1 : 0;
      if (parentheses > 0 || (c != '{' && c != '}' && c != ';')) {
        before += c;
        continue;
      }
      if (c == '{') open(before);
      if (c == '}' && !open_.empty()) open_.pop_back();
      before.clear();
    }
    return names_;
  }

 private:
  void open(const std::string& before) {
    static const std::regex kNamespace(R"(^\s*(?:inline\s+)?namespace\b\s*([\w:\s]*)$)");
    static const std::regex kType(R"(^\s*(?:struct|class|union|enum(?:\s+class|\s+struct)?)\s)"
                                  R"((?:\s*\[\[.*\]\]|\s*alignas\(.*\))*\s*(\w+)\s*(?:final\s*)?(?::(?!:)[^]*)?$)");
    std::smatch match;
    if (std::regex_search(before, match, kNamespace)) {
      const std::string name = std::regex_replace(match[1].str(), std::regex(R"(\binline\b|\s)"), "");
      open_.push_back(name);
      if (const std::string whole = qualified(""); !name.empty() && !is_anonymous()) names_.namespaces.push_back(whole);
      return;
    }
    const std::string declaration = without_template(before);
    if (!is_anonymous() && std::regex_search(declaration, match, kType)) names_.types.push_back(qualified(match[1]));
    int depth = 1;
    while (depth > 0 && ++at_ < code_.size()) depth += code_[at_] == '{' ? 1 : code_[at_] == '}' ? -1 : 0;
  }

  bool is_anonymous() const {
    return std::ranges::any_of(open_, [](const std::string& name) { return name.empty(); });
  }
  std::string qualified(const std::string& name) const {
    std::string whole;
    for (const std::string& part : open_) whole += (whole.empty() ? "" : "::") + part;
    return whole + (whole.empty() || name.empty() ? "" : "::") + name;
  }

  const std::string code_;
  size_t at_ = 0;
  std::vector<std::string> open_;  // "" where it is anonymous
  Names names_;
};

Names names_in(std::string_view source) { return Scanner(code_of(source)).scan(); }

/// Whether a folder may open the namespace: its own and those within. `base` has steelyard itself, where the others'
/// names are taken.
bool belongs(const std::string& name, const std::string& folder, const std::set<std::string>& folders) {
  const std::string own = folder == "base" ? "steelyard" : "steelyard::" + folder;
  if (name == own) return true;
  if (!name.starts_with(own + "::")) return false;
  const std::string within = name.substr(own.size() + 2);
  return folder != "base" || !folders.contains(within.substr(0, within.find("::")));
}

/// Types that several files define: name → files. What is compiled once per target counts as one. Leaf headers of
/// src/simd stand for one another, each with the same types.
std::map<std::string, std::set<std::string>> defined_twice(const std::map<std::string, Names>& sources) {
  std::map<std::string, std::set<std::string>> files;
  for (const auto& [path, names] : sources) {
    for (const std::string& type : names.types) {
      const std::string name = std::regex_replace(type, std::regex("::STEELYARD_TARGET"), "");
      if (path.starts_with("simd/") && name != type) continue;
      files[name].insert(path);
    }
  }
  std::erase_if(files, [](const auto& entry) { return entry.second.size() < 2; });
  return files;
}

std::map<std::string, Names> all_sources() {
  const fs::path root = fs::path(STEELYARD_SOURCE_DIR) / "src";
  static const std::set<std::string> kEndings = {".h", ".cc", ".cu", ".cuh"};
  std::map<std::string, Names> sources;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!kEndings.contains(entry.path().extension().string())) continue;
    sources[fs::relative(entry.path(), root).string()] = names_in(test::read_text(entry.path().string()));
  }
  return sources;
}

TEST(Namespaces, EveryFolderHasItsOwn) {
  const auto sources = all_sources();
  std::set<std::string> folders;
  for (const auto& [path, names] : sources) folders.insert(path.substr(0, path.find('/')));
  EXPECT_GT(folders.size(), 10u) << "sources are not where they are looked for";
  for (const auto& [path, names] : sources) {
    const std::string folder = path.substr(0, path.find('/'));
    for (const std::string& name : names.namespaces) {
      EXPECT_TRUE(belongs(name, folder, folders)) << "src/" << path << " opens " << name;
    }
  }
}

TEST(Namespaces, NoTwoTypesHaveOneName) {
  const auto sources = all_sources();
  size_t n_types = 0;
  for (const auto& [path, names] : sources) n_types += names.types.size();
  EXPECT_GT(n_types, 200u) << "types are not found";
  for (const auto& [type, files] : defined_twice(sources)) {
    ADD_FAILURE() << type << " is defined in " << testing::PrintToString(files);
  }
}

// ---- the checks themselves

TEST(Namespaces, NamesAreRead) {
  const Names names = names_in(R"cpp(
    // namespace comment { struct Comment {}; }
#define MACRO       \
      namespace macro { \
      struct Macro {};  \
      }
    namespace steelyard::one {
    struct A {
      struct Nested {
        int i = 1'000;
      };
    };
    class Declared;
    enum class B : int { kB };
    template <class T, class U = Pair<T, int>>
    class C final : public A {};
    template <>
    struct C<int, int> {};
    struct A::DefinedLater {};
    inline A make(const char* text = "namespace literal {") {
      struct Local {};
      return {};
    }
    constexpr char kQuote = '"';
    namespace {
    struct Hidden {};
    namespace deeper {
    struct HiddenToo {};
    }  // namespace deeper
    }  // namespace
    namespace two::inline STEELYARD_TARGET {
    struct alignas(16) D {};
    }  // namespace two::inline STEELYARD_TARGET
    }  // namespace steelyard::one
    namespace fs = std::filesystem;
    struct Everywhere {};
  )cpp");
  EXPECT_EQ(names.namespaces, (std::vector<std::string>{"steelyard::one", "steelyard::one::two::STEELYARD_TARGET"}));
  EXPECT_EQ(names.types, (std::vector<std::string>{"steelyard::one::A", "steelyard::one::B", "steelyard::one::C",
                                                   "steelyard::one::two::STEELYARD_TARGET::D", "Everywhere"}));
}

TEST(Namespaces, ForeignNamespacesAreFound) {
  const std::set<std::string> folders = {"base", "one", "only"};
  EXPECT_TRUE(belongs("steelyard", "base", folders));
  EXPECT_TRUE(belongs("steelyard::detail", "base", folders));
  EXPECT_FALSE(belongs("steelyard::one", "base", folders));
  EXPECT_TRUE(belongs("steelyard::one", "one", folders));
  EXPECT_TRUE(belongs("steelyard::one::inner", "one", folders));
  EXPECT_FALSE(belongs("steelyard", "one", folders));
  EXPECT_FALSE(belongs("steelyard::only", "one", folders));
}

TEST(Namespaces, SecondDefinitionsAreFound) {
  const std::map<std::string, Names> sources = {
      {"one/a.h", {{}, {"steelyard::one::Candidate", "steelyard::one::STEELYARD_TARGET::Block"}}},
      {"one/b.cc", {{}, {"steelyard::one::Candidate", "steelyard::one::Block"}}},
      {"two/a.h", {{}, {"steelyard::two::Candidate"}}},
      {"simd/wide.h", {{}, {"steelyard::simd::STEELYARD_TARGET::Bytes"}}},
      {"simd/narrow.h", {{}, {"steelyard::simd::STEELYARD_TARGET::Bytes"}}}};
  const std::set<std::string> both = {"one/a.h", "one/b.cc"};
  EXPECT_EQ(defined_twice(sources), (std::map<std::string, std::set<std::string>>{
                                        {"steelyard::one::Block", both}, {"steelyard::one::Candidate", both}}));
}

}  // namespace
}  // namespace steelyard
