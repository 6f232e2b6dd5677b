// Work that is dealt out: items 0, 1, 2, ... go to ranks as these become free, and what was made of them comes to the
// leader in the order of items. So the leader may add results up, and the sum is that of one process, whoever was
// faster.
#pragma once

#include <cstdint>
#include <functional>

#include "cluster/ranks.h"

namespace steelyard::cluster {

/// Called with an item, in one rank; returns what is to be taken.
using DealtWork = std::function<Message(int64_t item)>;
/// Called in the leader with the result of every item, in order, from the thread that deals.
using TakeResult = std::function<void(int64_t item, Message result)>;

/// All ranks call it with the same n_items. The leader works too. It returns when all results were taken; the other
/// ranks return when there is nothing left to begin. Results that wait for an earlier item are some for each rank.
void deal_out(Ranks& ranks, int64_t n_items, const DealtWork& work, const TakeResult& take);

}  // namespace steelyard::cluster
