#include "huggingface/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/byte_reader.h"
#include "base/error.h"
#include "json/document.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kIndex = "model.safetensors.index.json", kOnly = "model.safetensors",
                           kSuffix = ".safetensors";

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

// Without an index: the one file, or all that are called like shards.
std::vector<std::string> listed_shards(const std::string& folder) {
  const std::filesystem::path root(folder);
  if (std::filesystem::exists(root / kOnly)) return {(root / kOnly).string()};
  std::vector<std::string> paths;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(root, failure)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model-") && name.ends_with(kSuffix)) paths.push_back(entry.path().string());
  }
  if (failure) fail(folder, "cannot be listed: {}", failure.message());
  if (paths.empty()) fail(folder, "has no {}, no {} and no shards of a model", kOnly, kIndex);
  std::ranges::sort(paths);
  // The last part of a name says how many there are: "-of-00003.safetensors".
  const std::string first = file_name(paths.front());
  const size_t of = first.rfind("-of-");
  if (of != std::string::npos) {
    const size_t count = std::strtoul(first.c_str() + of + 4, nullptr, 10);
    if (count != paths.size())
      fail(folder, "has {} shards, expected {} as {} says", paths.size(), count, printable(first));
  }
  return paths;
}

}  // namespace

Checkpoint::Checkpoint(const std::string& folder, gguf::ReadMode mode) {
  const std::string index = (std::filesystem::path(folder) / kIndex).string();
  if (std::filesystem::exists(index)) index_.emplace(index);
  for (const std::string& path : index_ ? indexed_shards(folder) : listed_shards(folder)) {
    const Safetensors& shard = shards_.emplace_back(path, mode);
    for (const StoredTensor& tensor : shard.tensors()) {
      tensors_.push_back(tensor);
      tensors_.back().shard = n_shards() - 1;
    }
  }
  by_name_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto [there, added] = by_name_.emplace(tensors_[i].name, i);
    if (!added) {
      fail(path(tensors_[i]), "tensor '{}': found here and in {}, expected once", printable(tensors_[i].name),
           printable(file_name(path(tensors_[there->second]))));
    }
  }
  if (index_) check_index();
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

// Files in the order of their names, each in the folder itself.
std::vector<std::string> Checkpoint::indexed_shards(const std::string& folder) {
  const std::string& where = index_->path();
  const json::Value index =
      json::parse_document(ByteReader(index_->bytes(), where).text(index_->bytes().size()), where);
  const auto map = index.find("weight_map");
  if (!map || !map->is(json::Value::Kind::kObject)) fail(where, "found no object weight_map");
  std::set<std::string> names;
  map->for_each_member([&](std::string_view tensor, json::Value value) {
    const std::string file = value.string().value_or("");
    if (file.empty() || file_name(file) != file || file == ".." || !file.ends_with(kSuffix)) {
      fail(where, "tensor '{}': found {} as its file, expected the name of a {} file", printable(tensor),
           printable(value.text()), kSuffix);
    }
    if (!places_.emplace(tensor, file).second)
      fail(where, "tensor '{}': found twice, expected once", printable(tensor));
    names.insert(file);
  });
  if (names.empty()) fail(where, "names no shards");
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    paths.push_back((std::filesystem::path(folder) / name).string());
    if (!std::filesystem::exists(paths.back())) fail(paths.back(), "is missing; {} names it", kIndex);
  }
  return paths;
}

void Checkpoint::check_index() const {
  for (const StoredTensor& tensor : tensors_) {
    const std::string file = file_name(path(tensor));
    const auto place = places_.find(tensor.name);
    if (place == places_.end())
      fail(index_->path(), "tensor '{}': found in {}, expected in the index too", printable(tensor.name),
           printable(file));
    if (place->second != file) {
      fail(index_->path(), "tensor '{}': found in {}, expected in {}", printable(tensor.name), printable(file),
           printable(place->second));
    }
  }
  if (places_.size() == tensors_.size()) return;
  for (const auto& [name, file] : places_) {
    if (find(name) == nullptr)
      fail(index_->path(), "tensor '{}': found no such tensor in {}", printable(name), printable(file));
  }
}

}  // namespace steelyard::huggingface
