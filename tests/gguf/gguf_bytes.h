// Builds GGUF files byte by byte, right or wrong, without the library's encoding. Included by the tests of this folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>

#include "error_of.h"

namespace steelyard::gguf {

/// Ids as in the file.
enum : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kStr = 8,
  kArr = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};

template <typename T>
std::string num(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

inline std::string str(std::string_view text) { return num<uint64_t>(text.size()) + std::string(text); }

inline std::string kv(std::string_view key, uint32_t type, std::string_view raw) {
  return str(key) + num(type) + std::string(raw);
}

/// Raw bytes of an array value.
inline std::string arr(uint32_t type, uint64_t count, std::string_view elements) {
  return num(type) + num(count) + std::string(elements);
}

inline std::string tensor(std::string_view name, std::initializer_list<int64_t> ne, uint32_t type, uint64_t offset) {
  std::string out = str(name) + num(static_cast<uint32_t>(ne.size()));
  for (const int64_t n : ne) out += num(n);
  return out + num(type) + num(offset);
}

inline std::string padded(std::string bytes, size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes;
}

/// Header without padding.
inline std::string header(std::initializer_list<std::string> kvs, std::initializer_list<std::string> tensors,
                          uint32_t version = 3) {
  std::string out = "GGUF" + num(version) + num<uint64_t>(tensors.size()) + num<uint64_t>(kvs.size());
  for (const std::string& entry : kvs) out += entry;
  for (const std::string& entry : tensors) out += entry;
  return out;
}

/// A new file: truncating an old one would make some file systems flush at every close.
inline void put(const std::string& path, std::string_view bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

using test::error_of;

}  // namespace steelyard::gguf
