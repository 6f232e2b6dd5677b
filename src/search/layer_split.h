// Which device gets which layers where types are still to be chosen. A device with many layers must store them in fewer
// bits, and its next byte would save more than that of another device. The best split has the least loss over all
// devices, and that is where what a byte saves is much alike. Losses are those of the relaxed problem (hull.h), in
// which a device is full to the byte. Pure; used by searches for the memory of devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "search/sensitivity.h"

namespace steelyard::search {

struct SplitLayer {
  std::vector<Group> groups;  ///< its tensors, with those outside layers that are where it is
  int64_t fixed_bytes = 0;    ///< besides, with these tensors: its cache
};

/// Numbers of layers, one per device, in the order of the devices. `room`: bytes of each device for its layers. Every
/// layer is on a device, and a device may have none. Of the splits in which the smallest types fit it is the one with
/// the fewest bytes short of `share` of each device's room, and of several such the one with the least loss. Empty
/// where no split fits.
std::vector<size_t> split_layers(std::span<const SplitLayer> layers, std::span<const uint64_t> room, double share);

}  // namespace steelyard::search
