// A model file as commands open it: mapped, and bound for a backend.
#pragma once

#include <memory>
#include <string>

#include "compute/backend.h"
#include "gguf/reader.h"
#include "model/model.h"

namespace steelyard::test {

struct OpenedModel {
  explicit OpenedModel(const std::string& path, compute::Precision precision = compute::Precision::kExact)
      : reader(path), backend(compute::make_backend("cpu", precision)), model(reader, *backend) {}

  gguf::Reader reader;
  std::unique_ptr<compute::Backend> backend;
  model::Model model;
};

}  // namespace steelyard::test
