#include "cuda_emulator/ptx/tables.h"

#include <initializer_list>
#include <map>
#include <sstream>

namespace steelyard::cuda_emulator::ptx {
namespace {

const std::map<std::string, Type> kTypes = {
    {"pred", kPred},   {"b8", kB8},     {"b16", kB16},       {"b32", kB32}, {"b64", kB64}, {"u8", kU8},   {"u16", kU16},
    {"u32", kU32},     {"u64", kU64},   {"s8", kS8},         {"s16", kS16}, {"s32", kS32}, {"s64", kS64}, {"f16", kF16},
    {"f16x2", kF16x2}, {"bf16", kBF16}, {"bf16x2", kBF16x2}, {"f32", kF32}, {"f64", kF64}};

const std::map<std::string, Opcode> kOpcodes = {
#define X(name) {#name, op_##name},
    PTX_OPCODES(X)
#undef X
        {"exit", op_ret},
    {"barrier", op_bar},
    {"membar", op_fence}};

const std::map<std::string, Comparison> kComparisons = {
    {"eq", kEq},   {"ne", kNe},   {"lt", kLt},   {"le", kLe},   {"gt", kGt},   {"ge", kGe},
    {"lo", kLt},   {"ls", kLe},   {"hi", kGt},   {"hs", kGe},   {"equ", kEqu}, {"neu", kNeu},
    {"ltu", kLtu}, {"leu", kLeu}, {"gtu", kGtu}, {"geu", kGeu}, {"num", kNum}, {"nan", kNan}};

// Which of the modifiers is there, or the number of them.
int which(const Instruction& instruction, std::initializer_list<const char*> modifiers) {
  int index = 0;
  for (const char* modifier : modifiers) {
    if (instruction.has(modifier)) break;
    ++index;
  }
  return index;
}

int find_mma(const Instruction& i) {
  const bool bf16 = i.type2 == kBF16, half = i.type2 == kF16;
  if (i.type == kF32 && (bf16 || half)) {
    if (i.has("m16n8k16")) return bf16 ? kMma16Bf16 : kMma16Half;
    if (i.has("m16n8k8")) return bf16 ? kMma8Bf16 : kMma8Half;
  }
  if (i.type == kS32 && i.type2 == kS8) {
    if (i.has("m16n8k32")) return kMma32Int8;
    if (i.has("m16n8k16")) return kMma16Int8;
  }
  return -1;
}

// Bars and copies are several instructions under one name.
bool split_opcode(Instruction& i) {
  if (i.op == op_bar) {
    if (i.has("warp")) i.op = op_bar_warp;
    if (i.has("red")) i.op = op_bar_red;
    i.variant = which(i, {"popc", "and", "or"});
    return !i.has("arrive");
  }
  if (i.op != op_cp) return true;
  if (i.has("commit_group")) i.op = op_cp_commit;
  if (i.has("wait_group")) i.op = op_cp_wait;
  if (i.has("wait_all")) i.op = op_cp_wait_all;
  return i.has("async") && !i.has("bulk") && !i.has("mbarrier");
}

}  // namespace

int size_of(Type type) {
  switch (type) {
    case kPred:
    case kB8:
    case kU8:
    case kS8:
      return 1;
    case kB16:
    case kU16:
    case kS16:
    case kF16:
    case kBF16:
      return 2;
    case kB64:
    case kU64:
    case kS64:
    case kF64:
      return 8;
    default:
      return 4;
  }
}

Type find_type(const std::string& name) {
  const auto found = kTypes.find(name);
  return found == kTypes.end() ? kNone : found->second;
}

int find_special(const std::string& name) {
  static const std::map<std::string, int> kSpecials = {{"%tid.x", kTidX},
                                                       {"%tid.y", kTidY},
                                                       {"%tid.z", kTidZ},
                                                       {"%ntid.x", kNtidX},
                                                       {"%ntid.y", kNtidY},
                                                       {"%ntid.z", kNtidZ},
                                                       {"%ctaid.x", kCtaidX},
                                                       {"%ctaid.y", kCtaidY},
                                                       {"%ctaid.z", kCtaidZ},
                                                       {"%nctaid.x", kNctaidX},
                                                       {"%nctaid.y", kNctaidY},
                                                       {"%nctaid.z", kNctaidZ},
                                                       {"%laneid", kLaneid},
                                                       {"%warpid", kWarpid},
                                                       {"%clock", kClock},
                                                       {"%clock64", kClock},
                                                       {"%lanemask_lt", kLanemaskLt},
                                                       {"%lanemask_eq", kLanemaskEq},
                                                       {"%lanemask_le", kLanemaskLe},
                                                       {"%lanemask_gt", kLanemaskGt},
                                                       {"%lanemask_ge", kLanemaskGe}};
  const auto found = kSpecials.find(name);
  return found == kSpecials.end() ? -1 : found->second;
}

std::string decode(const std::string& name, Instruction& i) {
  std::istringstream parts(name);
  std::string part;
  std::getline(parts, part, '.');
  const auto opcode = kOpcodes.find(part);
  const std::string unknown = "unsupported instruction " + name;
  if (opcode == kOpcodes.end()) return unknown;
  i.op = opcode->second;
  while (std::getline(parts, part, '.')) {
    i.modifiers.push_back(part);
    const Type type = find_type(part);
    if (type == kNone) continue;
    if (i.type == kNone)
      i.type = type;
    else if (i.type2 == kNone)
      i.type2 = type;
  }
  if (i.has("cc") || !split_opcode(i)) return unknown;
  i.width = i.has("v2") ? 2 : i.has("v4") ? 4 : 1;
  i.saturate = i.has("sat");
  i.to_space = i.has("to");
  i.wide = i.has("wide") ? Wide::kWide : i.has("hi") ? Wide::kHigh : Wide::kLow;
  i.combine = i.has("and") ? Combine::kAnd : i.has("or") ? Combine::kOr : i.has("xor") ? Combine::kXor : Combine::kNone;
  if (i.has("shared") || i.has("shared::cta")) i.space = Space::kShared;
  if (i.has("param")) i.space = Space::kParam;
  if (i.has("local")) i.space = Space::kLocal;
  const int rounding = which(i, {"rni", "rzi", "rmi", "rpi"});
  i.rounding = rounding < 4 ? Rounding(rounding + 1) : Rounding::kNone;
  switch (i.op) {
    case op_setp:
      i.comparison = kComparisons.at(i.modifiers[0]);
      break;
    case op_cvt:
      if (i.has("rz") && is_float(i.type)) return unknown;
      break;
    case op_shf:
      i.variant = (i.has("r") ? kFunnelRight : 0) | (i.has("clamp") ? kFunnelClamp : 0);
      break;
    case op_shfl:
      i.variant = which(i, {"idx", "up", "down", "bfly"});
      break;
    case op_vote:
      i.variant = which(i, {"ballot", "any", "all"});
      break;
    case op_redux:
    case op_atom:
    case op_red:
      i.variant = which(i, {"add", "min", "max", "and", "or", "xor", "exch", "cas"});
      if (i.variant > kCas) return unknown;
      break;
    case op_mma:
      i.variant = find_mma(i);
      if (i.variant < 0) return unknown;
      break;
    case op_ldmatrix:
      i.variant = (i.has("x4") ? 4 : i.has("x2") ? 2 : 1) | (i.has("trans") ? kTransposed : 0);
      break;
    default:
      break;
  }
  return {};
}

}  // namespace steelyard::cuda_emulator::ptx
