// How lanes meet, and the operations on one value per lane: shuffles, votes, reductions.
#include "cuda_emulator/collective.h"

#include <algorithm>

namespace steelyard::cuda_emulator {

const char* op_name(int op) {
  static const char* const kNames[] = {"shfl",
                                       "shfl",
                                       "shfl",
                                       "shfl",
                                       "shfl64",
                                       "shfl64",
                                       "shfl64",
                                       "shfl64",
                                       "__syncwarp",
                                       "ballot",
                                       "any",
                                       "all",
                                       "match_any",
                                       "reduce",
                                       "mma.m16n8k16",
                                       "mma.m16n8k8",
                                       "mma.m16n8k32.s8",
                                       "mma.m16n8k16.s8",
                                       "ldmatrix"};
  return kNames[op];
}

namespace {

Slot& slot_of(Warp& warp, int op, uint32_t mask, Site site) {
  for (uint32_t used = warp.used; used; used &= used - 1) {
    Slot& slot = warp.slots[__builtin_ctz(used)];
    if (slot.mask == mask) return slot;
  }
  const int free = __builtin_ctz(~warp.used);
  warp.used |= 1u << free;
  Slot& slot = warp.slots[free];
  slot.mask = mask;
  slot.arrived = 0;
  slot.op = op;
  slot.site = site;
  slot.generation = warp.generation++;
  return slot;
}

}  // namespace

Slot* arrive(int op, uint32_t mask, void* args, Site site, bool aligned) {
  Thread* t = current_thread;
  Warp& warp = *t->warp;
  if (!(mask >> t->lane & 1)) {
    fail("%s at %s: calling lane %u is not in mask %08x", op_name(op), to_string(site).c_str(), t->lane, mask);
  }
  const uint32_t live = warp.exists & ~warp.exited;
  if (mask & ~live) {
    if (config().strict_mask) {
      fail("%s at %s: mask %08x names lanes that do not exist or have exited (live %08x)", op_name(op),
           to_string(site).c_str(), mask, live);
    }
    mask &= live;
  }
  Slot& slot = slot_of(warp, op, mask, site);
  if (slot.op != op) {
    fail("lanes of one warp execute different collectives: %s at %s and %s at %s", op_name(slot.op),
         to_string(slot.site).c_str(), op_name(op), to_string(site).c_str());
  }
  if (aligned && config().strict_sites && (slot.site.line != site.line || slot.site.file != site.file)) {
    fail("%s is .aligned but lanes reached it from %s and %s", op_name(op), to_string(slot.site).c_str(),
         to_string(site).c_str());
  }
  char* token = op == kOpSyncwarp ? &warp.order[slot.generation & 7] : nullptr;  // nothing else orders memory
  if (token) happens_before(token);
  slot.args[t->lane] = args;
  slot.arrived |= 1u << t->lane;
  if (slot.arrived == mask) return &slot;
  t->state = kInCollective;
  t->wait_what = op_name(op);
  t->wait_site = site;
  t->wait_mask = mask;
  reschedule();
  if (token) happens_after(token);
  return nullptr;
}

void depart(Slot& slot) {
  Thread* t = current_thread;
  Warp& warp = *t->warp;
  ++stats().collectives;
  warp.used &= ~(1u << (&slot - warp.slots));
  const uint32_t others = slot.mask & ~(1u << t->lane);
  if (config().order == Order::kReverse) {
    for (int lane = 31; lane >= 0; --lane) {
      if (others >> lane & 1) make_runnable(warp.lanes[lane]);
    }
  } else {
    for_lanes(others, [&](int lane) { make_runnable(warp.lanes[lane]); });
  }
  char* token = slot.op == kOpSyncwarp ? &warp.order[slot.generation & 7] : nullptr;
  slot.mask = 0;
  maybe_reschedule();
  if (token) happens_after(token);
}

// ---- shuffles

namespace {

template <class U>
struct ShflArgs {
  U value, out;
  int arg, width;
};

// The lane that `lane` reads; itself where the shuffle leaves its segment.
int source_lane(Shfl kind, int lane, int arg, int width) {
  const int base = lane & ~(width - 1), last = base | (width - 1);
  int source = base | (arg & (width - 1));
  if (kind == Shfl::kUp) source = lane - arg;
  if (kind == Shfl::kDown) source = lane + arg;
  if (kind == Shfl::kXor) source = lane ^ arg;
  const bool inside = kind == Shfl::kUp ? source >= base : source <= last;
  return inside ? source : lane;
}

template <class U>
U shfl(int base_op, Shfl kind, uint32_t mask, U value, int arg, int width, Site site) {
  if (width < 1 || width > 32 || (width & (width - 1))) fail("shfl width %d", width);
  ShflArgs<U> args{value, 0, arg, width};
  collective(base_op + int(kind), mask, &args, site, false, [kind](Slot& slot) {
    for_lanes(slot.mask, [&](int lane) {
      auto* own = static_cast<ShflArgs<U>*>(slot.args[lane]);
      const int source = source_lane(kind, lane, own->arg, own->width);
      if (!(slot.mask >> source & 1)) {
        fail("shfl at %s: lane %d reads lane %d, which is not in mask %08x", to_string(slot.site).c_str(), lane, source,
             slot.mask);
      }
      own->out = static_cast<ShflArgs<U>*>(slot.args[source])->value;
    });
  });
  return args.out;
}

}  // namespace

uint32_t shfl32(Shfl kind, uint32_t mask, uint32_t value, int arg, int width, Site site) {
  return shfl<uint32_t>(kOpShfl, kind, mask, value, arg, width, site);
}
uint64_t shfl64(Shfl kind, uint32_t mask, uint64_t value, int arg, int width, Site site) {
  return shfl<uint64_t>(kOpShfl64, kind, mask, value, arg, width, site);
}

void syncwarp(uint32_t mask, Site site) {
  collective(kOpSyncwarp, mask, nullptr, site, false, [](Slot&) {});
}

// ---- votes and reductions

uint32_t vote(Vote kind, uint32_t mask, uint64_t value, Site site) {
  struct Args {
    uint64_t value;
    uint32_t out;
  } args{value, 0};
  collective(kOpVote + int(kind), mask, &args, site, false, [kind](Slot& slot) {
    const auto args_of = [&](int lane) { return static_cast<Args*>(slot.args[lane]); };
    uint32_t ballot = 0;
    for_lanes(slot.mask, [&](int lane) { ballot |= uint32_t(args_of(lane)->value != 0) << lane; });
    for_lanes(slot.mask, [&](int lane) {
      uint32_t& out = args_of(lane)->out;
      if (kind == Vote::kBallot) out = ballot;
      if (kind == Vote::kAny) out = ballot != 0;
      if (kind == Vote::kAll) out = ballot == slot.mask;
      if (kind != Vote::kMatchAny) return;
      out = 0;
      for_lanes(slot.mask, [&](int other) {
        if (args_of(other)->value == args_of(lane)->value) out |= 1u << other;
      });
    });
  });
  return args.out;
}

namespace {

uint32_t combine(Red kind, uint32_t a, uint32_t b) {
  switch (kind) {
    case Red::kAddU:
    case Red::kAddS:
      return a + b;
    case Red::kMinS:
      return uint32_t(std::min(int(a), int(b)));
    case Red::kMaxS:
      return uint32_t(std::max(int(a), int(b)));
    case Red::kMinU:
      return std::min(a, b);
    case Red::kMaxU:
      return std::max(a, b);
    case Red::kAnd:
      return a & b;
    case Red::kOr:
      return a | b;
    case Red::kXor:
      return a ^ b;
  }
  __builtin_trap();
}

}  // namespace

uint32_t reduce(Red kind, uint32_t mask, uint32_t value, Site site) {
  need_capability(80, "__reduce_*_sync");
  collective(kOpReduce, mask, &value, site, false, [kind](Slot& slot) {
    const auto value_of = [&](int lane) { return static_cast<uint32_t*>(slot.args[lane]); };
    const int first = __builtin_ctz(slot.mask);
    uint32_t result = *value_of(first);
    for_lanes(slot.mask & (slot.mask - 1), [&](int lane) { result = combine(kind, result, *value_of(lane)); });
    for_lanes(slot.mask, [&](int lane) { *value_of(lane) = result; });
  });
  return value;
}

}  // namespace steelyard::cuda_emulator
