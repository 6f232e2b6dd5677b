// A golden model that is written in another way, and what its logits or its refusal must be.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/architecture.h"
#include "model/changed_model.h"
#include "support.h"

namespace steelyard::model {

inline constexpr double kMaxDifference = 1e-4;

class Variant : public ChangedModel {
 public:
  explicit Variant(const std::string& model)
      : ChangedModel(model), expected(test::read_values<float>(test::golden("models/" + model + "/logits_0.f32"))) {}

  int64_t integer(const std::string& name) const { return copy.metadata.integer(key(name)); }

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

  void set_flags(const std::string& name, const std::vector<bool>& flags) {
    gguf::KeyValue entry{key(name), gguf::ValueType::kArray, ""};
    const auto append = [&](auto value) { entry.raw.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
    append(static_cast<uint32_t>(gguf::ValueType::kBool));
    append(static_cast<uint64_t>(flags.size()));
    for (const bool flag : flags) append(static_cast<uint8_t>(flag));
    copy.metadata.set(entry);
  }

  ModelConfig config() const { return read_config(copy.metadata); }

  // of_pieces: the tokens whose logits are compared when the text comes in pieces: from this one on.
  void expect_equal(double tolerance = kMaxDifference, size_t of_pieces = 0) const {
    const std::pair<const char*, size_t> runs[] = {{"ref", ids.size()}, {"cpu", ids.size()}, {"cpu", 20}};
    for (const auto& [backend, piece] : runs) {
      const std::vector<float> found = logits(backend, piece);
      ASSERT_EQ(found.size(), expected.size());
      double max = 0;
      const size_t first = piece < ids.size() ? of_pieces * (expected.size() / ids.size()) : 0;
      for (size_t i = first; i < found.size(); ++i) max = std::max(max, std::abs(double{found[i]} - expected[i]));
      EXPECT_LE(max, tolerance) << backend << ", " << piece << " tokens at once";
    }
  }

  void expect_refused(const std::string& reason) const {
    try {
      logits("cpu", ids.size());
      FAIL() << "not refused";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }

  std::vector<float> expected;
};

}  // namespace steelyard::model
