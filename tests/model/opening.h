// What opening a model says that was changed.
#pragma once

#include <string>

#include "error_of.h"
#include "gguf/reader.h"
#include "model/model.h"
#include "schedule/session.h"

namespace steelyard::model {

/// The message of the Error of opening a model for 8 positions; empty when it opens.
inline std::string error_of_opening(const std::string& path) {
  return test::error_of([&] {
    const gguf::Reader reader(path);
    const auto backend = compute::make_backend("cpu");
    const Model model(reader, *backend);
    schedule::Session session(model, 8);
  });
}

}  // namespace steelyard::model
