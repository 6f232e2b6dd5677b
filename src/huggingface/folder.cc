#include "huggingface/folder.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/half.h"
#include "base/parallel.h"
#include "huggingface/tokenizer_metadata.h"

namespace steelyard::huggingface {
namespace {

using formats::Type;

// Besides the shards and their index. The order is that of the hash over all.
constexpr std::string_view kTexts[] = {"config.json",
                                       "generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer.model",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "chat_template.jinja",
                                       "chat_template.json"};

CodingSizes coding_sizes(const Config& config) {
  CodingSizes sizes;
  const json::Json* const quantization = config.find({"quantization_config"});
  if (quantization == nullptr || !quantization->is_object()) return sizes;
  const auto block = quantization->find("weight_block_size");
  if (block == quantization->end() || !block->is_array() || block->size() != 2) return sizes;
  for (const json::Json& n : *block) {
    if (!n.is_number_integer() || n.get<int64_t>() < 1 || n.get<int64_t>() > INT32_MAX)
      config.reject("weight_block_size", "is no list of two positive integers");
  }
  return {block->at(0).get<int64_t>(), block->at(1).get<int64_t>()};
}

void put(float value, Type type, std::byte* out) {
  if (type == Type::F32) {
    std::memcpy(out, &value, sizeof value);
  } else {
    const uint16_t bits = type == Type::BF16 ? to_bfloat16(value).bits : to_half(value).bits;
    std::memcpy(out, &bits, sizeof bits);
  }
}

// Values of one part in the tensor's type, from value `first` of the part on. `values` is work space.
void make_values(const Recipe& recipe, const View& view, int64_t first, int64_t n, std::byte* out,
                 std::vector<float>& values) {
  const Type type = recipe.info.type;
  const formats::Format& to = format(type);
  const StoredWeight& weight = view.weight();
  const Axis run = view.run();
  const bool same = weight.type() == type && recipe.changed == nullptr;
  const auto value_bytes = static_cast<size_t>(to.block_bytes);
  for (int64_t done = 0; done < n;) {
    const int64_t at = (first + done) % run.count, count = std::min(run.count - at, n - done);
    const int64_t begin = view.run_begin((first + done) / run.count) + at * run.step;
    if (same && to.block_len > 1) {
      weight.copy(begin, count, out);
    } else if (same && weight.values() != nullptr) {
      const std::byte* from = weight.values() + static_cast<size_t>(begin) * value_bytes;
      if (run.step == 1) {
        std::memcpy(out, from, static_cast<size_t>(count) * value_bytes);
      } else {
        for (int64_t i = 0; i < count; ++i, from += static_cast<size_t>(run.step) * value_bytes)
          std::memcpy(out + static_cast<size_t>(i) * value_bytes, from, value_bytes);
      }
    } else {
      values.resize(static_cast<size_t>(count));
      weight.decode(begin, run.step, count, values.data());
      for (int64_t i = 0; i < count; ++i) {
        const float value = values[static_cast<size_t>(i)];
        put(recipe.changed != nullptr ? recipe.changed(value) : value, type,
            out + static_cast<size_t>(i) * value_bytes);
      }
    }
    out += static_cast<size_t>(count / to.block_len) * value_bytes;
    done += count;
  }
}

bool is_tokenizer(const std::string& path) {
  const std::filesystem::path name = std::filesystem::path(path).filename();
  return name == "tokenizer.json" || name == "tokenizer.model" || name == "vocab.json";
}

int64_t stored_values(const StoredWeight& weight) {
  int64_t n = 1;
  for (const int64_t length : weight.shape()) n *= length;
  return n;
}

std::shared_ptr<std::byte> allocate(size_t n) {
  constexpr std::align_val_t kAlignment{64};
  return {static_cast<std::byte*>(::operator new(std::max<size_t>(n, 1), kAlignment)),
          [](std::byte* memory) { ::operator delete(memory, kAlignment); }};
}

}  // namespace

Folder::Folder(const std::string& path, gguf::ReadMode mode) : Source(path), mode_(mode), checkpoint_(path, mode) {
  const Config config(path);
  const Architecture& architecture = find_architecture(config.architecture(), config.path());
  for (const std::string_view name : kTexts) {
    const std::string text = (std::filesystem::path(path) / name).string();
    if (std::filesystem::is_regular_file(text)) texts_.emplace_back(text);
  }
  if (checkpoint_.index() != nullptr) texts_.emplace_back(checkpoint_.index()->path());
  weights_ = find_weights(checkpoint_, coding_sizes(config), mode == gguf::ReadMode::kData);
  recipes_ = make_recipes(architecture, config, weights_,
                          [this](const StoredTensor& tensor) { return checkpoint_.path(tensor); });
  add_metadata(config, architecture);
  if (architecture.cuts_vocabulary) cut_vocabulary();
  add_tensors();
}

void Folder::add_metadata(const Config& config, const Architecture& architecture) {
  metadata_ = gguf::Metadata(path());
  metadata_.set_string("general.architecture", architecture.name);
  metadata_.set_string("general.type", "model");
  const std::filesystem::path whole(path());
  const std::filesystem::path last = whole.has_filename() ? whole : whole.parent_path();
  metadata_.set_string("general.name", printable(last.filename().string()));
  add_sampling(path(), metadata_);
  Keys keys(metadata_, architecture.name, recipes_.n_layers, recipes_.n_blocks);
  add_common_keys(config, keys);
  if (architecture.add_keys != nullptr) architecture.add_keys(config, keys);
  if (recipes_.n_blocks > recipes_.n_layers)
    keys.integer("nextn_predict_layers", recipes_.n_blocks - recipes_.n_layers);
  metadata_.set_integer("general.quantization_version", 2);
  if (std::ranges::any_of(texts_, [](const MappedFile& text) { return is_tokenizer(text.path()); })) {
    const gguf::Metadata tokenizer = tokenizer_metadata(path());
    for (const gguf::KeyValue& entry : tokenizer.entries()) metadata_.set(entry);
  }
}

// Some embeddings have rows for tokens that nobody has.
void Folder::cut_vocabulary() {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  if (!metadata_.contains(kTokens)) return;
  const auto n = static_cast<int64_t>(metadata_.array_size(kTokens));
  for (Recipe& recipe : recipes_.recipes) {
    if (recipe.info.name != "token_embd.weight" || recipe.info.ne[1] <= n) continue;
    recipe.parts.front() = recipe.parts.front().slice(0, 0, n);
    recipe.info.ne[1] = n;
    recipe.begins.back() = recipe.info.n_elements();
    recipe.info.n_bytes = *gguf::tensor_bytes(format(recipe.info.type), recipe.info.ne);
  }
}

void Folder::add_tensors() {
  uint64_t end = 0;
  for (const Recipe& recipe : recipes_.recipes) {
    gguf::TensorInfo& tensor = tensors_.emplace_back(recipe.info);
    tensor.offset = end;
    const auto next = checked_add(end, tensor.n_bytes);
    const auto padded = next ? checked_align(*next, alignment_) : next;
    if (!padded) fail(path(), "tensor '{}': all tensors together exceed 2^64 bytes", printable(tensor.name));
    end = *padded;
  }
  index_tensors();
}

const std::string& Folder::shard_path(int shard) const {
  const int n = checkpoint_.n_shards();
  return shard < n ? checkpoint_.shard(shard).path() : texts_[static_cast<size_t>(shard - n)].path();
}

std::span<const std::byte> Folder::header(int shard) const {
  const int n = checkpoint_.n_shards();
  return shard < n ? checkpoint_.shard(shard).header() : texts_[static_cast<size_t>(shard - n)].bytes();
}

// By its place, because edits of a model change names. An empty tensor has the place of the next one.
const Recipe& Folder::recipe(const gguf::TensorInfo& tensor) const {
  auto own = std::ranges::lower_bound(tensors_, tensor.offset, {}, &gguf::TensorInfo::offset);
  while (own != tensors_.end() && own->offset == tensor.offset && own->n_bytes != tensor.n_bytes) ++own;
  STEELYARD_CHECK(own != tensors_.end() && own->offset == tensor.offset && own->ne == tensor.ne);
  return recipes_.recipes[static_cast<size_t>(own - tensors_.begin())];
}

// A part of a weight takes its share.
uint64_t Folder::stored_bytes(const gguf::TensorInfo& tensor) const {
  double bytes = 0;
  const Recipe& recipe = this->recipe(tensor);
  for (size_t i = 0; i < recipe.parts.size(); ++i) {
    const StoredWeight& weight = recipe.parts[i].weight();
    bytes += static_cast<double>(recipe.begins[i + 1] - recipe.begins[i]) * static_cast<double>(weight.stored_bytes()) /
             static_cast<double>(std::max<int64_t>(1, stored_values(weight)));
  }
  return recipe.parts.empty() ? tensor.n_bytes : static_cast<uint64_t>(bytes);
}

gguf::Bytes Folder::read(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end) const {
  STEELYARD_CHECK(mode_ == gguf::ReadMode::kData && begin <= end && end <= tensor.n_bytes);
  if (begin == end) return {};
  const Recipe& recipe = this->recipe(tensor);
  if (recipe.parts.empty()) return {std::as_bytes(std::span(recipe.values)).subspan(begin, end - begin)};

  const formats::Format& type = format(tensor.type);
  const auto block_bytes = static_cast<uint64_t>(type.block_bytes);
  const auto first = static_cast<int64_t>(begin / block_bytes) * type.block_len;
  const auto last = static_cast<int64_t>((end + block_bytes - 1) / block_bytes) * type.block_len;
  const size_t in = recipe.part_of(first);
  const View& view = recipe.parts[in];
  const std::byte* const stored =
      view.weight().type() == tensor.type && recipe.changed == nullptr ? view.weight().values() : nullptr;
  // Nothing makes a checkpoint put numbers where the processor wants them.
  const bool is_aligned = reinterpret_cast<uintptr_t>(stored) % block_bytes == 0;
  if (stored != nullptr && is_aligned && view.is_contiguous() && last <= recipe.begins[in + 1])
    return {{stored + begin + static_cast<uint64_t>(view.run_begin(0)) * block_bytes -
                 static_cast<uint64_t>(recipe.begins[in]) * block_bytes,
             end - begin}};

  const bool whole = begin == 0 && end == tensor.n_bytes;
  if (whole) {
    const std::scoped_lock lock(whole_mutex_);
    if (const std::shared_ptr<std::byte> held = whole_[&recipe].lock()) return {{held.get(), end}, held};
  }
  const auto n_bytes = static_cast<size_t>((last - first) / type.block_len) * block_bytes;
  const std::shared_ptr<std::byte> memory = allocate(n_bytes);
  constexpr int64_t kPiece = int64_t{1} << 14;  // values at a time, of which all types have whole blocks
  parallel_for((last - first + kPiece - 1) / kPiece, 1, [&](int64_t piece) {
    static thread_local std::vector<float> values;
    for (int64_t at = first + piece * kPiece, stop = std::min(last, at + kPiece); at < stop;) {
      const size_t part = recipe.part_of(at);
      const int64_t n = std::min(stop, recipe.begins[part + 1]) - at;
      make_values(recipe, recipe.parts[part], at - recipe.begins[part], n,
                  memory.get() + static_cast<size_t>((at - first) / type.block_len) * block_bytes, values);
      at += n;
    }
  });
  if (whole) {
    const std::scoped_lock lock(whole_mutex_);
    whole_[&recipe] = memory;
  }
  return {{memory.get() + (begin - static_cast<uint64_t>(first / type.block_len) * block_bytes), end - begin}, memory};
}

// What of the files bytes [begin, end) are made of. Of parts that are not read front to back: all, or, where only
// `whole` ones count, all with the part's last byte.
template <typename Use>
void Folder::for_stored(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end, bool whole,
                        const Use& use) const {
  const Recipe& recipe = this->recipe(tensor);
  if (begin >= end || recipe.parts.empty()) return;
  const double values_per_byte = static_cast<double>(tensor.n_elements()) / static_cast<double>(tensor.n_bytes);
  const auto first = static_cast<int64_t>(static_cast<double>(begin) * values_per_byte);
  const auto last = std::min(tensor.n_elements(), static_cast<int64_t>(static_cast<double>(end) * values_per_byte));
  for (size_t part = recipe.part_of(first); part < recipe.parts.size() && recipe.begins[part] < last; ++part) {
    const View& view = recipe.parts[part];
    const StoredTensor& stored = view.weight().tensor();
    if (!view.is_contiguous()) {
      if (!whole || last >= recipe.begins[part + 1]) use(stored, stored.begin, stored.end);
      continue;
    }
    const double bytes_per_value = static_cast<double>(stored.end - stored.begin) /
                                   static_cast<double>(std::max<int64_t>(1, stored_values(view.weight())));
    const auto place = [&](int64_t value) {
      const int64_t in_weight = view.run_begin(0) + value - recipe.begins[part];
      return std::min(stored.end,
                      stored.begin + static_cast<uint64_t>(static_cast<double>(in_weight) * bytes_per_value));
    };
    use(stored, place(std::max(first, recipe.begins[part])), place(std::min(last, recipe.begins[part + 1])));
  }
}

void Folder::will_need(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end) const {
  for_stored(tensor, begin, end, false, [&](const StoredTensor& stored, uint64_t from, uint64_t to) {
    checkpoint_.shard(stored.shard).will_need(from, to);
  });
}

void Folder::release(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end) const {
  for_stored(tensor, begin, end, true, [&](const StoredTensor& stored, uint64_t from, uint64_t to) {
    checkpoint_.shard(stored.shard).release(from, to);
  });
}

}  // namespace steelyard::huggingface
