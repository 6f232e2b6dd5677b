// The file that keeps an evaluation's progress: "STEELPRG", the run's identity, three counts, the base's length, the
// values as they are in memory, and a SHA-256 of all that. Only the program that wrote it is meant to read it.
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/sha256.h"
#include "evaluate/evaluation.h"

namespace steelyard {
namespace {

constexpr std::string_view kMagic = "STEELPRG";

struct Head {
  char magic[8];
  char identity[kSha256Digits];
  uint64_t base_bytes;
  uint64_t n_scores;
  uint64_t n_routers;
};

template <typename T>
void append(std::string& text, std::span<const T> values) {
  text.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

}  // namespace

void save_progress(const std::string& path, const std::string& identity, const Progress& progress) {
  Head head{{}, {}, progress.base_bytes, progress.scores.size(), progress.routers.size()};
  std::memcpy(head.magic, kMagic.data(), sizeof(head.magic));
  std::memcpy(head.identity, identity.data(), sizeof(head.identity));
  std::string text;
  append(text, std::span<const Head>(&head, 1));
  append(text, std::span<const TokenScore>(progress.scores));
  append(text, std::span<const RouterCounts>(progress.routers));
  write_file(path, text + sha256(text));
}

std::optional<Progress> load_progress(const std::string& path, const std::string& identity) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const std::string text = read_file(path);
  Head head;
  if (text.size() < sizeof(head) + kSha256Digits || !text.starts_with(kMagic)) {
    fail(path, "is not the progress of an evaluation");
  }
  const auto content = std::string_view(text).substr(0, text.size() - kSha256Digits);
  std::memcpy(&head, text.data(), sizeof(head));
  const auto scores = checked_mul(head.n_scores, sizeof(TokenScore));
  const auto routers = checked_mul(head.n_routers, sizeof(RouterCounts));
  const auto values = scores && routers ? checked_add(*scores, *routers) : std::nullopt;
  if (!values || *values != content.size() - sizeof(head) || sha256(content) != text.substr(content.size())) {
    fail(path, "is damaged");
  }
  if (identity != std::string_view(head.identity, sizeof(head.identity))) {
    fail(path, "is the progress of a run with another model, text, base or other settings; delete it to begin anew");
  }
  Progress progress;
  progress.base_bytes = head.base_bytes;
  progress.scores.resize(head.n_scores);
  progress.routers.resize(head.n_routers);
  std::memcpy(progress.scores.data(), text.data() + sizeof(head), *scores);
  std::memcpy(progress.routers.data(), text.data() + sizeof(head) + *scores, *routers);
  return progress;
}

}  // namespace steelyard
