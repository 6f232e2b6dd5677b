// What the options of a search must be, and what follows from them.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "jobs/given_options.h"
#include "jobs/search.h"

namespace steelyard::jobs {

void SearchOptions::check() const {
  if (!(bpw >= 0 && std::isfinite(bpw))) fail("", "--bpw: expected a number above 0, found {}", bpw);
  if (int{size > 0} + int{bpw > 0} + int{!devices.vram.empty()} != 1) fail("", "give one of --size, --bpw and --vram");
  if (!(time >= 0 && std::isfinite(time))) fail("", "--time: expected a number above 0, found {}", time);
  steering.check();
  if (devices.vram.empty()) refuse_given(*this, names_of<DeviceOptions>(), "without --vram");
  if (held_out < 2) fail("", "--held-out: expected at least 2, found {}", held_out);
  if (rounds < 1) fail("", "--rounds: expected at least 1, found {}", rounds);
  if (text.file.empty()) fail("", "no text given: -f FILE");
  if (text.from_chunk != 0 || text.parse_special) fail("", "--from-chunk and --parse-special: calibration has neither");
  if (!conversations.given()) {
    refuse_given(*this, {"chat_template", "conversations_share"}, "without --conversations");
  }
  if (text.ppl_stride != 0) fail("", "--ppl-stride: a search calibrates, its chunks do not overlap");
}

ShapingOptions SearchOptions::shaping() const {
  ShapingOptions shaping;
  shaping.effort = effort;
  shaping.ctx_size = text.ctx_size;
  return shaping;
}

int64_t SearchOptions::chunk_size() const {
  return devices.vram.empty() ? text.ctx_size : std::min(text.ctx_size, TextOptions().ctx_size);
}

}  // namespace steelyard::jobs
