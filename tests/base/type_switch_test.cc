// Adding a format touches the list of formats, its own pair of files and its golden. Nothing outside src/formats may
// switch on a type or know a quantized type by name. The type's `Format` has the needed information.
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

bool is_name_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// The types in the lines "FORMAT(<name>, <id>)" that store blocks; F32, BF16, I8 and their like are plain values that
/// any code may handle.
std::set<std::string> quantized_types(const std::string& list) {
  std::set<std::string> names;
  std::istringstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("FORMAT(")) continue;
    const std::string name = line.substr(7, line.find(',') - 7);
    const size_t first_digit = name.find_first_of("0123456789");
    const std::string letters = name.substr(0, first_digit);
    const bool is_plain = name.find('_') == std::string::npos && (letters == "F" || letters == "BF" || letters == "I");
    if (!is_plain) names.insert(name);
  }
  return names;
}

/// The lines without what follows "//": prose may name types.
std::string without_comments(const std::string& source) {
  std::string code;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) code += line.substr(0, line.find("//")) + '\n';
  return code;
}

/// What in `source` depends on particular types: `case Type::...`, `Type::Q4_K`, and the literal "Q4_K" as a whole.
std::vector<std::string> type_switches(const std::string& source, const std::set<std::string>& quantized) {
  std::vector<std::string> found;
  constexpr std::string_view kType = "Type::";
  for (size_t at = source.find(kType); at != std::string::npos; at = source.find(kType, at + 1)) {
    // Other enums may be called SomethingType.
    if (at > 0 && is_name_character(source[at - 1])) continue;
    size_t end = at + kType.size();
    while (end < source.size() && is_name_character(source[end])) ++end;
    const size_t line = source.rfind('\n', at) + 1;
    const bool is_case = std::string_view(source).substr(line, at - line).find("case ") != std::string_view::npos;
    const std::string name = source.substr(at + kType.size(), end - at - kType.size());
    if (is_case || quantized.contains(name)) found.push_back((is_case ? "case Type::" : "Type::") + name);
  }
  for (const std::string& name : quantized) {
    if (source.find('"' + name + '"') != std::string::npos) found.push_back('"' + name + '"');
  }
  return found;
}

std::set<std::string> known_types() {
  return quantized_types(test::read_text(STEELYARD_SOURCE_DIR "/src/formats/formats.def"));
}

TEST(TypeSwitch, NothingOutsideFormatsDependsOnParticularTypes) {
  const std::set<std::string> quantized = known_types();
  ASSERT_GE(quantized.size(), 25u);
  const fs::path root = STEELYARD_SOURCE_DIR;
  size_t n_files = 0;
  for (const char* folder : {"src", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string path = fs::relative(entry.path(), root).string();
      if (!entry.is_regular_file() || path.starts_with("src/formats/")) continue;
      ++n_files;
      for (const std::string& text :
           type_switches(without_comments(test::read_text(entry.path().string())), quantized)) {
        ADD_FAILURE() << path << " holds " << text << ": ask the type's Format instead";
      }
    }
  }
  EXPECT_GT(n_files, 100u) << "sources are not where they are looked for";
}

// ---- the checks themselves

TEST(TypeSwitch, QuantizedTypesAreThoseWithBlocks) {
  EXPECT_EQ(quantized_types("// FORMAT\nFORMAT(F32, 0)\nFORMAT(BF16, 30)\nFORMAT(I8, 24)\nFORMAT(Q4_0, 2)\n"
                            "FORMAT(IQ2_S, 22)\nFORMAT(MXFP4, 39)\n"),
            (std::set<std::string>{"Q4_0", "IQ2_S", "MXFP4"}));
}

TEST(TypeSwitch, CommentsAreNoCode) { EXPECT_EQ(without_comments("a // \"Q4_K\"\n/// Type::Q4_K\nb"), "a \n\nb\n"); }

TEST(TypeSwitch, SwitchesAreFound) {
  const std::set<std::string> quantized = {"Q4_K"};
  using Found = std::vector<std::string>;
  EXPECT_EQ(type_switches("switch (t) {\n  case Type::F32: break;\n}", quantized), Found{"case Type::F32"});
  EXPECT_EQ(type_switches("if (t == Type::Q4_K || t == steelyard::Type::Q4_K)", quantized),
            (Found{"Type::Q4_K", "Type::Q4_K"}));
  EXPECT_EQ(type_switches("if (name == \"Q4_K\")", quantized), Found{"\"Q4_K\""});
  EXPECT_EQ(type_switches("Type::F32, Type::Q4_KX, ValueType::Q4_K, \"e.g. Q4_K\" \"Q4_K_M\"", quantized), Found{});
}

}  // namespace
}  // namespace steelyard
