#include "formats/codebook.h"

namespace steelyard::inline STEELYARD_ISA {

STEELYARD_HD Envelope sum(const Envelope& a, const Envelope& b) {
  Envelope total;
  int i = 0;
  int k = 0;
  while (true) {
    total.append({a[i].xg + b[k].xg, a[i].gg + b[k].gg, a[i].code | b[k].code});
    const bool a_ends = i + 1 == a.size();
    const bool b_ends = k + 1 == b.size();
    if (a_ends && b_ends) return total;
    const bool step_a = b_ends || (!a_ends && crossing(a[i], a[i + 1]) <= crossing(b[k], b[k + 1]));
    ++(step_a ? i : k);
  }
}

STEELYARD_HD Envelope either(const Envelope& a, const Envelope& b, const Ladder& ladder) {
  Envelope envelope;
  for (int k = 0; k < ladder.size; ++k) {
    const Line& of_a = a.best(ladder.scale[k]);
    const Line& of_b = b.best(ladder.scale[k]);
    envelope.append(of_b.at(ladder.scale[k]) > of_a.at(ladder.scale[k]) ? of_b : of_a);
  }
  return envelope;
}

}  // namespace steelyard::inline STEELYARD_ISA
