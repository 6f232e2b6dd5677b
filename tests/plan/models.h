// Tensor lists of real models with the types llama.cpp's mixes pick for them: tests/golden/plan/*.tsv.
#pragma once

#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/checked.h"
#include "gguf/tensor_info.h"
#include "plan/condition.h"
#include "support.h"

namespace steelyard::plan {

inline const char* const kModels[] = {"glm-4.7",           "glm-4.7-flash",   "qwen3-30b-a3b", "qwen3-coder-next",
                                      "deepseek-v4-flash", "gemma-4-26b-a4b", "glm-5",         "qwen3.5-35b-a3b"};

struct Model {
  std::vector<gguf::TensorInfo> tensors;
  Facts facts;
  /// Mix ("Q4_K_M", or "IQ4_XS+imatrix" where an importance matrix changes the picks) to the type of each tensor.
  std::map<std::string, std::vector<std::string>> picks;
  /// The same mixes to the size of all tensors in MiB, rounded to two decimals.
  std::map<std::string, std::string> mebibytes;
};

inline std::vector<std::string> fields(const std::string& line, char separator) {
  std::vector<std::string> result;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, separator);) result.push_back(field);
  return result;
}

/// "0-2,5" as 0 1 2 5.
inline std::vector<int> layer_list(const std::string& text) {
  std::vector<int> layers;
  for (const std::string& part : fields(text, ',')) {
    const size_t dash = part.find('-');
    const int last = std::stoi(dash == std::string::npos ? part : part.substr(dash + 1));
    for (int layer = std::stoi(part); layer <= last; ++layer) layers.push_back(layer);
  }
  return layers;
}

inline gguf::TensorInfo tensor(const std::string& name, const std::vector<int64_t>& shape, formats::Type type) {
  gguf::TensorInfo info;
  info.name = name;
  info.n_dims = static_cast<int>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) info.ne[i] = shape[i];
  info.type = type;
  info.n_bytes = gguf::tensor_bytes(format(type), info.ne).value_or(0);
  return info;
}

/// Each line of the file is one kind of tensor: name (N is the layer's number), layers, shape, source type, choices.
inline Model read_model(const std::string& name) {
  Model model;
  std::istringstream in(test::read_text(test::golden("plan/" + name + ".tsv")));
  std::string line;
  std::getline(in, line);
  const std::vector<std::string> header = fields(line, '\t');
  while (std::getline(in, line)) {
    const std::vector<std::string> row = fields(line, '\t');
    if (row[0] == "#facts") {
      model.facts = {.gqa = std::stoll(row.at(1)), .experts = std::stoll(row.at(2))};
      continue;
    }
    EXPECT_EQ(row.size(), header.size()) << line;
    if (row[0] == "#MiB") {
      for (size_t i = 4; i < row.size(); ++i) model.mebibytes[header[i]] = row[i];
      continue;
    }
    std::vector<int64_t> shape;
    for (const std::string& n : fields(row[2], ',')) shape.push_back(std::stoll(n));
    std::vector<std::string> names;
    if (row[1].empty()) names.push_back(row[0]);
    for (const int layer : layer_list(row[1])) names.push_back("blk." + std::to_string(layer) + row[0].substr(5));
    for (const std::string& tensor_name : names) {
      model.tensors.push_back(tensor(tensor_name, shape, formats::find_format(row[3])->type));
      for (size_t i = 4; i < row.size(); ++i) model.picks[header[i]].push_back(row[i]);
    }
  }
  return model;
}

}  // namespace steelyard::plan
