// A golden model with some metadata or tensors changed, and what becomes of its logits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/model.h"
#include "model_copy.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::model {

inline constexpr double kMaxDifference = 1e-4;

class Variant {
 public:
  explicit Variant(const std::string& model)
      : copy(test::golden("models/" + model + "/model.gguf")),
        architecture_(copy.metadata.string("general.architecture")),
        expected(test::read_values<float>(test::golden("models/" + model + "/logits_0.f32"))) {
    const auto json = nlohmann::json::parse(test::read_text(test::golden("models/" + model + "/tokens.json")));
    ids_ = json["sequences"][0].get<std::vector<int32_t>>();
  }

  std::string key(const std::string& name) const { return architecture_ + "." + name; }
  int64_t integer(const std::string& name) const { return copy.metadata.integer(key(name)); }

  std::vector<float> values(const std::string& name) {
    const std::vector<std::byte>& bytes = copy.find(name)->bytes;
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  void put(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne, const std::vector<float>& values) {
    gguf::TensorInfo info{};
    info.name = name;
    info.type = formats::Type::F32;
    info.ne = ne;
    info.n_dims = 1;
    while (info.n_dims < 3 && ne[info.n_dims] > 1) ++info.n_dims;
    const auto bytes = std::as_bytes(std::span(values));
    info.n_bytes = bytes.size();
    copy.tensors.push_back({info, {bytes.begin(), bytes.end()}});
  }

  // Pieces of `step[i]` values from each source in turn, as often as they last: one tensor made of several.
  void fuse(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne,
            const std::vector<std::string>& sources, const std::vector<size_t>& steps) {
    std::vector<float> fused;
    const auto total = static_cast<size_t>(ne[0] * ne[1] * ne[2]);
    for (size_t round = 0; fused.size() < total; ++round) {
      for (size_t i = 0; i < sources.size(); ++i) {
        const std::vector<float> from = values(sources[i]);
        const auto begin = from.begin() + static_cast<ptrdiff_t>(round * steps[i]);
        fused.insert(fused.end(), begin, begin + static_cast<ptrdiff_t>(steps[i]));
      }
    }
    for (const std::string& source : sources) copy.remove(source);
    put(name, ne, fused);
  }

  std::vector<float> logits(const char* backend_name, size_t piece) const {
    copy.save(folder_ / "variant.gguf");
    const gguf::Reader reader(folder_ / "variant.gguf");
    const auto backend = compute::make_backend(backend_name);
    const Model model(reader, *backend);
    schedule::Session session(model, static_cast<int64_t>(ids_.size()));
    std::vector<float> out;
    for (size_t begin = 0; begin < ids_.size(); begin += piece) {
      const auto part = std::span(ids_).subspan(begin, std::min(piece, ids_.size() - begin));
      const Matrix logits = session.logits(session.forward(part));
      for (int64_t t = 0; t < logits.rows; ++t) out.insert(out.end(), logits.row(t), logits.row(t) + logits.cols);
    }
    return out;
  }

  // of_pieces: the tokens whose logits are compared when the text comes in pieces: from this one on.
  void expect_equal(double tolerance = kMaxDifference, size_t of_pieces = 0) const {
    const std::pair<const char*, size_t> runs[] = {{"ref", ids_.size()}, {"cpu", ids_.size()}, {"cpu", 20}};
    for (const auto& [backend, piece] : runs) {
      const std::vector<float> found = logits(backend, piece);
      ASSERT_EQ(found.size(), expected.size());
      double max = 0;
      const size_t first = piece < ids_.size() ? of_pieces * (expected.size() / ids_.size()) : 0;
      for (size_t i = first; i < found.size(); ++i) max = std::max(max, std::abs(double{found[i]} - expected[i]));
      EXPECT_LE(max, tolerance) << backend << ", " << piece << " tokens at once";
    }
  }

  void expect_refused(const std::string& reason) const {
    try {
      logits("cpu", ids_.size());
      FAIL() << "not refused";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }

 private:
  test::TempFolder folder_;

 public:
  test::ModelCopy copy;

 private:
  std::string architecture_;
  std::vector<int32_t> ids_;

 public:
  std::vector<float> expected;
};

inline std::string block(int64_t i, const std::string& name) { return "blk." + std::to_string(i) + "." + name; }

}  // namespace steelyard::model
