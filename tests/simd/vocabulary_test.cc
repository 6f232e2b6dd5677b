// Instructions of a processor are named in the leaf headers of src/simd alone; everything else says the verbs of
// simd/simd.h. A loop that lacks one adds a verb to the vocabulary instead of writing intrinsics for the target at
// hand.
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

namespace steelyard::simd {
namespace {

namespace fs = std::filesystem;

/// The lines without what follows "//": prose may name instructions.
std::string without_comments(const std::string& source) {
  std::string code;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) code += line.substr(0, line.find("//")) + '\n';
  return code;
}

bool is_name_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Names in `code` that belong to an instruction set, or to what compilers have for vectors; each once.
std::set<std::string> dialect(const std::string& code) {
  static constexpr std::string_view kBeginnings[] = {
      "_mm",     "__m128",   "__m256", "__m512", "__mmask",           "__AVX",          "__SSE",
      "__FMA__", "__F16C__", "__BMI",  "__ARM_", "__builtin_shuffle", "__builtin_ia32", "__builtin_convertvector"};
  static constexpr std::string_view kParts[] = {"intrin.h", "arm_neon", "arm_sve", "vector_size", "ext_vector_type"};
  std::set<std::string> found;
  const auto look_for = [&](std::string_view text, bool at_beginning) {
    for (size_t at = code.find(text); at != std::string::npos; at = code.find(text, at + 1)) {
      if (at_beginning && at > 0 && is_name_character(code[at - 1])) continue;
      size_t begin = at, end = at + text.size();
      while (begin > 0 && is_name_character(code[begin - 1])) --begin;
      while (end < code.size() && is_name_character(code[end])) ++end;
      found.insert(code.substr(begin, end - begin));
    }
  };
  for (const std::string_view text : kBeginnings) look_for(text, true);
  for (const std::string_view text : kParts) look_for(text, false);
  return found;
}

const std::set<std::string> kLeafHeaders = {"sse2.h",       "neon.h",    "avx2.h",     "avx512.h",
                                            "four_lanes.h", "vectors.h", "one_lane.h", "doubles.h"};

TEST(Vocabulary, OnlyLeafHeadersNameInstructions) {
  const fs::path root = STEELYARD_SOURCE_DIR;
  size_t n_files = 0;
  std::set<std::string> leaves;
  for (const char* folder : {"src", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file()) continue;
      const std::string path = fs::relative(entry.path(), root).string();
      const std::string name = entry.path().filename().string();
      if (path == "src/simd/" + name && kLeafHeaders.contains(name)) {
        leaves.insert(name);
        continue;
      }
      // The choice among the leaf headers, by what the compiler was told.
      std::set<std::string> found = dialect(without_comments(test::read_text(entry.path().string())));
      if (path == "src/simd/simd.h") {
        for (const char* known : {"__AVX512BW__", "__AVX2__", "__SSE2__", "__ARM_NEON"}) found.erase(known);
      }
      ++n_files;
      for (const std::string& text : found) {
        ADD_FAILURE() << path << " holds " << text << ": say it in the words of simd/simd.h, or add one";
      }
    }
  }
  EXPECT_EQ(leaves, kLeafHeaders);
  EXPECT_GT(n_files, 100u) << "sources are not where they are looked for";
}

// ---- the check itself

TEST(Vocabulary, InstructionsAreFound) {
  using Found = std::set<std::string>;
  EXPECT_EQ(dialect("#include <immintrin.h>\n#include <arm_neon.h>\n"), (Found{"immintrin.h", "arm_neon"}));
  EXPECT_EQ(dialect("const __m512i v = _mm512_set1_epi32(1) + _mm512_set1_epi32(2);"),
            (Found{"__m512i", "_mm512_set1_epi32"}));
  EXPECT_EQ(dialect("#if defined(__AVX512VNNI__) || defined(__SSE4_1__) || defined(__ARM_FEATURE_DOTPROD)"),
            (Found{"__AVX512VNNI__", "__SSE4_1__", "__ARM_FEATURE_DOTPROD"}));
  EXPECT_EQ(dialect("using Four [[gnu::vector_size(16)]] = float; __attribute__((__vector_size__(16)))"),
            (Found{"vector_size", "__vector_size__"}));
  EXPECT_EQ(dialect("__builtin_shufflevector(a, b, 0); __builtin_ia32_pause();"),
            (Found{"__builtin_shufflevector", "__builtin_ia32_pause"}));
}

TEST(Vocabulary, WhatOnlyLooksLikeThemIsNot) {
  EXPECT_EQ(
      dialect("int comm_mm = vector.size(); gemm_mma(a); __builtin_prefetch(p); __builtin_cpu_supports(\"avx2\");"),
      std::set<std::string>{});
  EXPECT_EQ(dialect(without_comments("a // _mm_add_ps\n/// __m128\nb")), std::set<std::string>{});
}

}  // namespace
}  // namespace steelyard::simd
