// A parsed PTX module. Private to the interpreter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace steelyard::cuda_emulator::ptx {

enum Type : uint8_t {
  kNone,
  kPred,
  kB8,
  kB16,
  kB32,
  kB64,
  kU8,
  kU16,
  kU32,
  kU64,
  kS8,
  kS16,
  kS32,
  kS64,
  kF16,
  kF16x2,
  kBF16,
  kBF16x2,
  kF32,
  kF64
};
int size_of(Type type);
inline bool is_signed(Type type) { return type >= kS8 && type <= kS64; }
inline bool is_float(Type type) { return type >= kF16; }
/// Of a name without its dot, e.g. "f32"; kNone where it is none.
Type find_type(const std::string& name);

// X-macro: the mnemonic and its constant are the same word.
// clang-format does not agree with itself about such a list.
// clang-format off
#define PTX_OPCODES(X) \
  X(add) X(sub) X(mul) X(mad) X(fma) X(div) X(rem) X(min) X(max) X(neg) X(abs) X(and) X(or) X(xor) X(not) \
  X(shl) X(shr) X(shf) X(bfe) X(bfi) X(prmt) X(popc) X(clz) X(brev) X(bfind) X(lop3) X(mov) X(ld) X(st) \
  X(cvt) X(cvta) X(setp) X(selp) X(bra) X(ret) X(bar) X(shfl) X(vote) X(redux) X(atom) X(red) X(fence) \
  X(dp4a) X(mma) X(ldmatrix) X(cp) X(rsqrt) X(rcp) X(sqrt) X(ex2) X(lg2) X(sin) X(cos) X(tanh) X(copysign) \
  X(trap) X(nanosleep) X(vadd4) X(vsub4)
// clang-format on
enum Opcode : uint8_t {
#define X(name) op_##name,
  PTX_OPCODES(X)
#undef X
  // What modifiers make of some of them.
  op_bar_warp,
  op_bar_red,
  op_cp_commit,
  op_cp_wait,
  op_cp_wait_all
};

enum Comparison : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kEqu, kNeu, kLtu, kLeu, kGtu, kGeu, kNum, kNan };
enum class Combine : uint8_t { kNone, kAnd, kOr, kXor };
enum class Space : uint8_t { kGeneric, kShared, kParam, kLocal };
enum class Rounding : uint8_t { kNone, kNearest, kZero, kDown, kUp };
enum class Wide : uint8_t { kLow, kHigh, kWide };

enum class OperandKind : uint8_t {
  kNone,
  kRegister,
  kImmediate,
  kShared,
  kLocal,
  kGlobal,
  kParam,
  kSpecial,
  kLabel,
  kSink
};
struct Operand {
  OperandKind kind = OperandKind::kNone;
  int index = -1;      ///< register, or number of a shared variable
  int second = -1;     ///< the register after '|'
  uint64_t value = 0;  ///< immediate, address, offset, special register or target of a branch
  std::vector<Operand> vector;
};

enum Special {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneid,
  kWarpid,
  kClock,
  kLanemaskLt,
  kLanemaskEq,
  kLanemaskLe,
  kLanemaskGt,
  kLanemaskGe
};

struct Instruction {
  Opcode op;
  Type type = kNone, type2 = kNone;
  int predicate = -1;
  bool negated = false;
  int width = 1;  ///< of vector loads and stores
  std::vector<std::string> modifiers;
  std::vector<Operand> operands;
  // Modifiers, resolved once.
  Comparison comparison = kEq;
  Combine combine = Combine::kNone;
  Space space = Space::kGeneric;
  Rounding rounding = Rounding::kNone;
  Wide wide = Wide::kLow;
  int variant = 0;  ///< kind of a shuffle, vote, reduction, atomic, mma, funnel shift or barrier
  bool saturate = false, to_space = false;

  bool has(const char* modifier) const;
};

struct Symbol {
  OperandKind kind;
  uint64_t offset;  ///< or address, or number of a shared variable
};

struct Kernel {
  struct Parameter {
    size_t offset, size;
  };
  std::string name;
  std::vector<Parameter> parameters;
  size_t parameter_bytes = 0, local_bytes = 0;
  std::vector<Instruction> code;
  int n_registers = 0;
  std::map<std::string, Symbol> symbols;
};

struct Program {
  struct Shared {
    size_t bytes, align;  ///< 0 bytes: dynamic
  };
  std::map<std::string, std::unique_ptr<Kernel>> kernels;
  std::map<std::string, Symbol> globals;
  std::vector<Shared> shared;
  std::vector<void*> memory;  ///< of globals

  Program() = default;
  Program(const Program&) = delete;
  ~Program();
};

/// Throws std::runtime_error.
std::shared_ptr<const Program> parse(const std::string& text);

}  // namespace steelyard::cuda_emulator::ptx
