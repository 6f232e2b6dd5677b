// No function that a narrow machine runs was compiled for a wide target. Sources compiled once per target share inline
// functions and instances of templates with all others, unless their names are the target's own; of those shared, the
// linker keeps one copy for everyone. Here the real program is disassembled, and the libraries' symbols are listed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "simd/target.h"
#include "support.h"

#if defined(__has_feature)
#define STEELYARD_HAS_FEATURE(x) __has_feature(x)
#else
#define STEELYARD_HAS_FEATURE(x) 0
#endif

namespace steelyard::simd {
namespace {

struct CompiledFor {
  std::string_view name;
  std::string_view options;
};

// The narrowest first.
constexpr CompiledFor kTargets[kTargetCount] = {
#define TARGET(enumerator, name, encoders, options, condition) {#name, options},
#include "simd/targets.def"
#undef TARGET
};

/// Whether a mangled name has `target` as one of its namespaces: "4avx2", and not within "14avx2...".
bool has_namespace(std::string_view symbol, std::string_view target) {
  const std::string component = std::to_string(target.size()) + std::string(target);
  for (size_t at = symbol.find(component); at != std::string_view::npos; at = symbol.find(component, at + 1)) {
    if (at == 0 || symbol[at - 1] < '0' || symbol[at - 1] > '9') return true;
  }
  return false;
}

/// The target whose machines run a function: the narrowest in its name, or the baseline. What initializes a source file
/// is run by everyone.
CompiledFor target_of(std::string_view symbol) {
  if (symbol.starts_with("_GLOBAL__")) return kTargets[0];
  for (const CompiledFor& target : kTargets) {
    if (has_namespace(symbol, target.name)) return target;
  }
  return kTargets[0];
}

/// The compiler's option without which this instruction of x86 ("vaddps %ymm0,%ymm1,%ymm2") would not be there; empty
/// for those of the baseline.
std::string_view needed_option(std::string_view instruction) {
  std::string_view mnemonic, rest = instruction;
  static const std::set<std::string_view> kPrefixes = {"rep",     "repz", "repnz",  "lock",  "bnd",
                                                       "notrack", "cs",   "data16", "{vex}", "{evex}"};
  do {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    mnemonic = rest.substr(0, rest.find(' '));
    rest.remove_prefix(mnemonic.size());
  } while (kPrefixes.contains(mnemonic));
  if (mnemonic.empty()) return "";
  if (mnemonic[0] == 'v' && mnemonic != "verr" && mnemonic != "verw") {
    if (mnemonic.starts_with("vpdp")) return "-mavx512vnni";
    for (size_t at = rest.find('%'); at != std::string_view::npos; at = rest.find('%', at + 1)) {
      const std::string_view name = rest.substr(at + 1);
      if (name[0] == 'z' || (name[0] == 'k' && name[1] <= '7')) return "-mavx512f";
      const bool is_vector = (name[0] == 'x' || name[0] == 'y') && name.substr(1, 2) == "mm";
      const std::string_view number = is_vector ? name.substr(3, 2) : "";
      if (number.size() == 2 && number[1] >= '0' && number[1] <= '9' && number >= "16") return "-mavx512f";
    }
    return "-mavx2";
  }
  static const std::set<std::string_view> kBmi2 = {"mulx", "rorx", "sarx", "shlx", "shrx", "pdep", "pext", "bzhi"};
  static const std::set<std::string_view> kBmi = {"andn", "blsr", "blsi", "blsmsk", "bextr"};
  // tzcnt is not among them: it is how objdump writes a bsf that either kind of processor takes.
  if (kBmi2.contains(mnemonic)) return "-mbmi2";
  if (kBmi.contains(mnemonic)) return "-mbmi";
  if (mnemonic.starts_with("popcnt")) return "-mavx2";
  return "";
}

bool has_option(std::string_view options, std::string_view option) {
  return (std::string(options) + " ").find(std::string(option) + " ") != std::string::npos;
}

/// What `objdump -d --no-show-raw-insn` prints, line by line.
class Listing {
 public:
  void line(std::string_view text) {
    if (text.ends_with(">:")) {
      const size_t begin = text.find('<') + 1;
      symbol_ = text.substr(begin, text.size() - 2 - begin);
      // Libraries in C that are linked in choose at run time by themselves.
      is_ours_ = symbol_.starts_with("_Z") || symbol_.starts_with("_GLOBAL__") || symbol_ == "main";
      target_ = target_of(symbol_);
      ++functions_[target_.name];
    } else if (const size_t tab = text.find('\t'); tab != std::string_view::npos && is_ours_) {
      const std::string_view instruction = text.substr(tab + 1), needed = needed_option(instruction);
      if (needed.empty()) return;
      needed_[target_.name].insert(std::string(needed));
      if (!has_option(target_.options, needed)) offences_.try_emplace(symbol_, instruction);
    }
  }
  /// Functions with instructions that not all machines have that run them, and the first of these.
  const std::map<std::string, std::string>& offences() const { return offences_; }
  int functions(std::string_view target) { return functions_[target]; }
  const std::set<std::string>& needed(std::string_view target) { return needed_[target]; }

 private:
  std::string symbol_;
  bool is_ours_ = false;
  CompiledFor target_ = kTargets[0];
  std::map<std::string, std::string> offences_;
  std::map<std::string_view, int> functions_;
  std::map<std::string_view, std::set<std::string>> needed_;
};

/// The target that an object file of a library was compiled for: "q4_k.cc.avx2.cc.o".
std::string_view target_of_object(std::string_view object) {
  for (const CompiledFor& target : kTargets) {
    std::string ending = ".";
    ending.append(target.name).append(".cc.o");
    if (object.ends_with(ending)) return target.name;
  }
  return kTargets[0].name;
}

/// Whether a line of `nm -A` ("lib.a:q4_k.cc.avx2.cc.o:0000 W _Z...") defines for everybody what was compiled for a
/// wide target. DW.ref.* is clang's pointer to the handler of exceptions, the same in every object.
bool shares_wide_code(std::string_view line) {
  const size_t name = line.rfind(' ') + 1;
  const size_t address = line.rfind(':', name), object = line.rfind(':', address - 1) + 1;
  const std::string_view target = target_of_object(line.substr(object, address - object));
  const char kind = line[name - 2];
  return target != kTargets[0].name && (kind == 'W' || kind == 'V' || kind == 'u') &&
         !has_namespace(line.substr(name), target) && !line.substr(name).starts_with("DW.ref.");
}

/// The lines that a command prints, one by one; its exit status.
int each_line(const std::string& command, const std::function<void(std::string_view)>& use) {
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return -1;
  char* line = nullptr;
  size_t size = 0;
  for (ssize_t n; (n = ::getline(&line, &size, pipe)) > 0;) use({line, static_cast<size_t>(n - (line[n - 1] == '\n'))});
  std::free(line);
  return ::pclose(pipe);
}

/// Why the program cannot be looked at, if so.
std::string reason_to_skip(const char* tool) {
#if !defined(__x86_64__)
  return "only x86-64 has several targets";
#elif defined(__SANITIZE_ADDRESS__) || STEELYARD_HAS_FEATURE(address_sanitizer) || !defined(__OPTIMIZE__)
  return "without optimization nothing is inlined";
#endif
  const std::string look = std::string("command -v ").append(tool).append(" > /dev/null 2>&1");
  if (std::system(look.c_str()) != 0) return std::string(tool) + " (binutils) is not installed";
  return "";
}

TEST(Symbols, FunctionsHaveInstructionsOfTheirTargetOnly) {
  if (const std::string reason = reason_to_skip("objdump"); !reason.empty()) GTEST_SKIP() << reason;
  Listing listing;
  ASSERT_EQ(each_line("objdump -d --no-show-raw-insn '" STEELYARD_BINARY "'",
                      [&](std::string_view line) { listing.line(line); }),
            0);
  for (const auto& [symbol, instruction] : listing.offences()) {
    ADD_FAILURE() << symbol << " is run by every machine that has " << target_of(symbol).name << ", and has "
                  << instruction;
  }
  // The listing was what we took it for.
  for (const CompiledFor& target : kTargets) {
    EXPECT_GT(listing.functions(target.name), 100) << target.name;
    for (const char* option : {"-mavx2", "-mavx512f", "-mavx512vnni"}) {
      if (has_option(target.options, option)) {
        EXPECT_TRUE(listing.needed(target.name).contains(option)) << target.name << " makes no use of " << option;
      }
    }
  }
}

// Which copy the linker keeps depends on the order of objects: none must be there to be kept.
TEST(Symbols, WideObjectsShareNothingWithOthers) {
  if (const std::string reason = reason_to_skip("nm"); !reason.empty()) GTEST_SKIP() << reason;
  std::map<std::string_view, int> weak;
  ASSERT_EQ(each_line("nm -A --defined-only " STEELYARD_SIMD_LIBRARIES,
                      [&](std::string_view line) {
                        if (line.find(".cc.o:") == std::string_view::npos || line.rfind(' ') == line.npos) return;
                        const size_t object = line.find(".a:") + 3;
                        ++weak[target_of_object(line.substr(object, line.find(':', object) - object))];
                        if (shares_wide_code(line)) ADD_FAILURE() << line << " may be linked into everyone's code";
                      }),
            0);
  for (const CompiledFor& target : kTargets) EXPECT_GT(weak[target.name], 100) << target.name;
}

// ---- the checks themselves

#if defined(__x86_64__)
TEST(Symbols, InstructionsNeedOptions) {
  EXPECT_EQ(needed_option("mov    %rax,%rbx"), "");
  EXPECT_EQ(needed_option("verr   %ax"), "");
  EXPECT_EQ(needed_option("rep stos %al,%es:(%rdi)"), "");
  EXPECT_EQ(needed_option("tzcnt  %eax,%eax"), "");
  EXPECT_EQ(needed_option(""), "");
  EXPECT_EQ(needed_option("vzeroupper"), "-mavx2");
  EXPECT_EQ(needed_option("vmovdqu (%r12),%xmm1"), "-mavx2");
  EXPECT_EQ(needed_option("vmovdqu (%r12),%xmm15"), "-mavx2");
  EXPECT_EQ(needed_option("vmovdqu64 (%r12),%ymm16"), "-mavx512f");
  EXPECT_EQ(needed_option("vaddps %zmm0,%zmm1,%zmm2"), "-mavx512f");
  EXPECT_EQ(needed_option("vpcmpeqd %ymm0,%ymm1,%k1"), "-mavx512f");
  EXPECT_EQ(needed_option("vpdpbusd %zmm0,%zmm1,%zmm2"), "-mavx512vnni");
  EXPECT_EQ(needed_option("{vex} vpdpbusd %ymm0,%ymm1,%ymm2"), "-mavx512vnni");
  EXPECT_EQ(needed_option("shlx   %rax,%rbx,%rcx"), "-mbmi2");
  EXPECT_EQ(needed_option("andn   %rax,%rbx,%rcx"), "-mbmi");
  EXPECT_EQ(needed_option("popcnt %rax,%rbx"), "-mavx2");
}

TEST(Symbols, NamesSayWhoRunsAFunction) {
  EXPECT_EQ(target_of("_ZN9steelyard4avx23fooEv").name, "avx2");
  EXPECT_EQ(target_of("_ZN9steelyard6avx5123fooEv").name, "avx512");
  EXPECT_EQ(target_of("_ZN9steelyard10avx512vnni3fooEv").name, "avx512vnni");
  EXPECT_EQ(target_of("_ZN9steelyard14avx2isnotthereEv").name, "scalar");
  EXPECT_EQ(target_of("_ZSt4sortIPmEvT_S1_").name, "scalar");
  EXPECT_EQ(target_of("_ZSt4sortIPmN9steelyard4avx24LessEEvT_S1_T0_").name, "avx2");
  EXPECT_EQ(target_of("_GLOBAL__sub_I__ZN9steelyard6avx5128kFormatsE").name, "scalar");
}

TEST(Symbols, OffencesAreFound) {
  Listing listing;
  for (const char* line : {"0000000000401000 <_ZN9steelyard4avx23fooEv>:", "  401000:\tvaddps %ymm0,%ymm1,%ymm2",
                           "  401004:\tvaddps %zmm0,%zmm1,%zmm2", "  401008:\tvpdpbusd %zmm0,%zmm1,%zmm2",
                           "0000000000401010 <_ZN9steelyard6avx5123fooEv>:", "  401010:\tvaddps %zmm0,%zmm1,%zmm2",
                           "0000000000401020 <_ZSt4sortIPmEvT_S1_>:", "  401020:\tpush   %rbx", "  401021:\tvzeroupper",
                           "0000000000401030 <main>:", "  401030:\tmov    %rax,%rbx", "",
                           "0000000000401040 <cudaLaunch>:", "  401040:\tvzeroupper"}) {
    listing.line(line);
  }
  EXPECT_EQ(listing.offences(), (std::map<std::string, std::string>{
                                    {"_ZN9steelyard4avx23fooEv", "vaddps %zmm0,%zmm1,%zmm2"},
                                    {"_ZSt4sortIPmEvT_S1_", "vzeroupper"},
                                }));
}

TEST(Symbols, SharedCodeOfWideObjectsIsFound) {
  EXPECT_TRUE(shares_wide_code("/a:b/lib.a:q4_k.cc.avx2.cc.o:0000000000000000 W _ZSt4sortIPmEvT_S1_"));
  EXPECT_TRUE(shares_wide_code("lib.a:q4_k.cc.avx512.cc.o:0000000000000000 V _ZN9steelyard4avx25kGridE"));
  EXPECT_FALSE(shares_wide_code("lib.a:q4_k.cc.avx512.cc.o:0000000000000000 t _ZSt4sortIPmEvT_S1_"));
  EXPECT_FALSE(shares_wide_code("lib.a:q4_k.cc.avx512.cc.o:0000000000000000 V DW.ref.__gxx_personality_v0"));
  EXPECT_FALSE(shares_wide_code("lib.a:q4_k.cc.avx512.cc.o:0000000000000000 W _ZN9steelyard6avx5125kGridE"));
  EXPECT_FALSE(shares_wide_code("lib.a:q4_k.cc.scalar.cc.o:0000000000000000 W _ZSt4sortIPmEvT_S1_"));
  EXPECT_FALSE(shares_wide_code("lib.a:error.cc.o:0000000000000000 W _ZSt4sortIPmEvT_S1_"));
}
#endif

}  // namespace
}  // namespace steelyard::simd
