// Sizes of memory as people write them on a command line.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace steelyard {

/// "24GiB", "23.5 GB", "512m", "1000000": a number and an optional unit, in any case. k, M, G and T, with or without B,
/// are powers of 1000, KiB to TiB of 1024. Error for anything else, and from 2^60 bytes on.
uint64_t parse_bytes(std::string_view text);

/// Several sizes, separated by commas. A size may be repeated by x or the multiplication sign: "24GiB×6,16GiB". Error
/// when there are more than 1024 or none.
std::vector<uint64_t> parse_byte_list(std::string_view text);

}  // namespace steelyard
