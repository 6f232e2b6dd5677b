// A golden model in memory, to be written with other metadata and tensors and run on a golden's tokens.
#pragma once

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "model/model.h"
#include "model/opening.h"
#include "model_copy.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::model {

class ChangedModel {
 public:
  explicit ChangedModel(const std::string& name)
      : copy(test::golden("models/" + name + "/model.gguf")),
        prefix_(std::string(copy.metadata.string("general.architecture")) + ".") {
    const auto json = nlohmann::json::parse(test::read_text(test::golden("models/" + name + "/tokens.json")));
    ids = json["sequences"][0].get<std::vector<int32_t>>();
  }

  std::string key(const std::string& name) const { return prefix_ + name; }
  void set(const std::string& name, uint32_t value) { copy.metadata.set_integer(key(name), value); }
  void set(const std::string& name, const std::vector<uint32_t>& values) {
    const auto type = static_cast<uint32_t>(gguf::ValueType::kUint32);
    const uint64_t n = values.size();
    std::string raw(reinterpret_cast<const char*>(&type), sizeof(type));
    raw.append(reinterpret_cast<const char*>(&n), sizeof(n));
    raw.append(reinterpret_cast<const char*>(values.data()), n * sizeof(uint32_t));
    copy.metadata.set({key(name), gguf::ValueType::kArray, raw});
  }
  void set_real(const std::string& name, float value) { copy.metadata.set_real(key(name), value); }
  void erase(const std::string& name) { copy.metadata.erase(key(name)); }

  /// All keys become those of another architecture.
  void rename(const std::string& architecture) {
    for (gguf::KeyValue entry : std::vector<gguf::KeyValue>(copy.metadata.entries())) {
      if (!entry.key.starts_with(prefix_)) continue;
      copy.metadata.erase(entry.key);
      entry.key = architecture + "." + entry.key.substr(prefix_.size());
      copy.metadata.set(entry);
    }
    copy.metadata.set_string("general.architecture", architecture);
    prefix_ = architecture + ".";
  }

  bool has(const std::string& name) { return copy.find(name) != copy.tensors.end(); }
  std::vector<float> values(const std::string& name) {
    const std::vector<std::byte>& bytes = copy.find(name)->bytes;
    std::vector<float> out(bytes.size() / sizeof(float));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  /// Adds a tensor, or replaces the one of this name.
  void put(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne, const std::vector<float>& values) {
    if (has(name)) copy.remove(name);
    gguf::TensorInfo info{};
    info.name = name;
    info.type = formats::Type::F32;
    info.ne = ne;
    info.n_dims = 1;
    for (int i = 1; i < gguf::kMaxDims; ++i) {
      if (ne[static_cast<size_t>(i)] > 1) info.n_dims = static_cast<uint32_t>(i + 1);
    }
    const auto bytes = std::as_bytes(std::span(values));
    info.n_bytes = bytes.size();
    copy.tensors.push_back({info, {bytes.begin(), bytes.end()}});
  }
  void rename_tensor(const std::string& from, const std::string& to) { copy.find(from)->info.name = to; }

  /// In batches of `piece` tokens.
  std::vector<float> logits(const char* backend_name = "cpu", size_t piece = 48) const {
    copy.save(folder_ / "changed.gguf");
    const gguf::Reader reader(folder_ / "changed.gguf");
    const auto backend = compute::make_backend(backend_name);
    const Model model(reader, *backend);
    schedule::Session session(model, std::ssize(ids));
    std::vector<float> out;
    for (size_t begin = 0; begin < ids.size(); begin += piece) {
      const auto part = std::span(ids).subspan(begin, std::min(piece, ids.size() - begin));
      const Matrix logits = session.logits(session.forward(part));
      for (int64_t t = 0; t < logits.rows; ++t) out.insert(out.end(), logits.row(t), logits.row(t) + logits.cols);
    }
    return out;
  }
  /// Why it is refused; empty when it opens.
  std::string error() const {
    copy.save(folder_ / "changed.gguf");
    return error_of_opening(folder_ / "changed.gguf");
  }

 private:
  test::TempFolder folder_;

 public:
  test::ModelCopy copy;
  std::vector<int32_t> ids;

 private:
  std::string prefix_;
};

/// The greatest difference; infinite where sizes differ.
inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(double{a[i]} - b[i]));
  return most;
}

inline std::string block(int64_t i, const std::string& name) { return "blk." + std::to_string(i) + "." + name; }

}  // namespace steelyard::model
