// The reference backend for differences of whole models. It can compute as in an earlier pass, call by call, where a
// step could cross what derivatives do not see: it chooses the same experts, and clamps the same gates and values
// (ClampedSwiglu).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "compute/ref/ref_backend.h"
#include "compute/routing.h"

namespace steelyard::schedule {

class HoldingBackend : public compute::RefBackend {
 public:
  enum class Mode { kFree, kNote, kHold };
  void begin_pass(Mode mode) {
    mode_ = mode;
    n_routed_ = n_gated_ = 0;
  }

  void route(compute::Matrix logits, const compute::RouteArgs& args, compute::Routing& routing) override {
    if (mode_ != Mode::kHold) {
      RefBackend::route(logits, args, routing);
      if (mode_ == Mode::kNote) experts_.emplace_back(routing.expert, routing.expert + routing.n_slots());
      return;
    }
    const std::vector<int32_t>& chosen = experts_.at(n_routed_++);
    std::vector<float> bias(static_cast<size_t>(routing.n_expert)), scratch(2 * bias.size());
    compute::RouteArgs forced = args;
    forced.bias = bias.data();
    forced.n_group = forced.n_group_used = 1;
    for (int64_t t = 0; t < routing.n_tokens; ++t) {
      const int64_t slot = t * routing.n_used;
      std::ranges::fill(bias, 0.0f);
      for (int64_t i = slot; i < slot + routing.n_used; ++i)
        bias[static_cast<size_t>(chosen[static_cast<size_t>(i)])] = 1e4f;
      compute::select_experts({logits.row(t), bias.size()}, forced, scratch, routing.expert + slot,
                              routing.weight + slot);
    }
    compute::sort_by_expert(routing);
  }

  void gated(compute::Activation activation, compute::Matrix gate, compute::Matrix up) override {
    if (activation != compute::Activation::kClampedSwiglu || mode_ == Mode::kFree)
      return RefBackend::gated(activation, gate, up);
    const bool notes = mode_ == Mode::kNote;
    if (notes) clamped_.emplace_back();
    std::vector<bool>& clamped = notes ? clamped_.back() : clamped_.at(n_gated_++);
    size_t at = 0;
    const auto held = [&](double value, double low) {
      if (notes) clamped.push_back(value < low || value > 7);
      return clamped.at(at++) ? std::copysign(7.0, value) : value;
    };
    for (int64_t t = 0; t < gate.rows; ++t) {
      for (int64_t c = 0; c < gate.cols; ++c) {
        const double g = held(gate.row(t)[c], -std::numeric_limits<double>::infinity()), u = held(up.row(t)[c], -7);
        gate.row(t)[c] = static_cast<float>(g / (1 + std::exp(-1.702 * g)) * (u + 1));
      }
    }
  }

 private:
  Mode mode_ = Mode::kFree;
  std::vector<std::vector<int32_t>> experts_;
  std::vector<std::vector<bool>> clamped_;
  size_t n_routed_ = 0, n_gated_ = 0;
};

}  // namespace steelyard::schedule
