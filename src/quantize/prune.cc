// --prune-layers. The keys that describe blocks are those in llama.cpp's list of keys (src/llama-arch.cpp).
#include "quantize/prune.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "gguf/block_name.h"

namespace steelyard::quantize {
namespace {

using gguf::ValueType;

// Far above any model. It keeps a range like 0-999999999999 from filling the memory.
constexpr int64_t kMaxLayers = 65536;

// Under "<architecture>.": how many blocks from the front, or from the back, are special.
constexpr std::string_view kFromFront[] = {"leading_dense_block_count"};
constexpr std::string_view kFromBack[] = {"nextn_predict_layers", "attention.shared_kv_layers"};
// Period with which the kinds of blocks repeat. After pruning it is right only if each remaining block keeps its place
// in the cycle.
constexpr std::string_view kPeriods[] = {"full_attention_interval", "interleave_moe_layer_step", "moe_every_n_layers",
                                         "attention.sliding_window_pattern"};
// Arrays of numbers that do not describe blocks, however many elements they have.
constexpr std::string_view kNotOfBlocks[] = {"rope.dimension_sections"};
// Values that are one number for all blocks, or an array of one per block.
constexpr std::string_view kOfBlocks[] = {"attention.head_count", "attention.head_count_kv", "feed_forward_length",
                                          "attention.sliding_window_pattern"};

// Maps the old blocks to the new ones.
class Blocks {
 public:
  Blocks(int64_t count, const std::vector<int64_t>& removed) : removed_(removed), count_(count) {}

  int64_t count() const { return count_; }
  bool is_removed(int64_t block) const { return std::ranges::binary_search(removed_, block); }
  /// How many of [begin, end) are removed.
  int64_t removed_in(int64_t begin, int64_t end) const {
    return std::ranges::lower_bound(removed_, end) - std::ranges::lower_bound(removed_, begin);
  }
  /// The new number of a block that stays.
  int64_t moved(int64_t block) const { return block - removed_in(0, block); }

 private:
  const std::vector<int64_t>& removed_;
  int64_t count_;
};

// The metadata of one architecture, adapted key by key.
class BlockKeys {
 public:
  BlockKeys(gguf::Metadata& metadata, std::string prefix, const Blocks& blocks, int64_t n_predict)
      : metadata_(metadata), prefix_(std::move(prefix)), blocks_(blocks), n_predict_(n_predict) {}

  void adapt() {
    const int64_t n = blocks_.count();
    for (const std::string_view key : kFromFront) subtract(key, [&](int64_t k) { return blocks_.removed_in(0, k); });
    for (const std::string_view key : kFromBack) subtract(key, [&](int64_t k) { return blocks_.removed_in(n - k, n); });
    for (const std::string_view key : kPeriods) check_period(key);
    for (const gguf::KeyValue& entry : std::vector<gguf::KeyValue>(metadata_.entries())) {
      if (entry.type == ValueType::kArray && entry.key.starts_with(prefix_)) adapt_array(entry);
    }
    set_integer(metadata_, prefix_ + "block_count", n - blocks_.removed_in(0, n));
  }

 private:
  template <typename... Args>
  [[noreturn]] void reject(std::string_view key, fmt::format_string<Args...> format, Args&&... args) const {
    fail(metadata_.source(), "--prune-layers: key '{}' {}", printable(key),
         fmt::format(format, std::forward<Args>(args)...));
  }

  const gguf::KeyValue* find_scalar(const std::string& key) const {
    const gguf::KeyValue* entry = metadata_.find(key);
    return entry == nullptr || entry->type == ValueType::kArray ? nullptr : entry;
  }

  // A count of blocks decreases by the removed blocks among them.
  template <typename Removed>
  void subtract(std::string_view name, const Removed& removed) {
    const std::string key = prefix_ + std::string(name);
    if (find_scalar(key) == nullptr) return;
    const int64_t count = metadata_.integer(key);
    if (count < 0 || count > blocks_.count()) reject(key, "is {}, expected 0 to {} blocks", count, blocks_.count());
    if (const int64_t n = removed(count); n > 0) set_integer(metadata_, key, count - n);
  }

  void check_period(std::string_view name) const {
    const std::string key = prefix_ + std::string(name);
    if (find_scalar(key) == nullptr) return;
    const int64_t period = metadata_.integer(key);
    for (int64_t block = 0; period > 1 && block < blocks_.count() - n_predict_; ++block) {
      if (blocks_.is_removed(block) || (block - blocks_.moved(block)) % period == 0) continue;
      reject(key, "says that the kinds of blocks repeat every {}, and block {} would become block {}, of another kind",
             period, block, blocks_.moved(block));
    }
  }

  // An array with one element per block loses the elements of removed blocks. It may have none for prediction blocks.
  void adapt_array(const gguf::KeyValue& entry) {
    constexpr size_t kHeader = sizeof(uint32_t) + sizeof(uint64_t);  // element type, count
    const std::string_view name = std::string_view(entry.key).substr(prefix_.size());
    const auto element = static_cast<ValueType>(load_number<uint32_t>(entry.raw.data()));
    if (element == ValueType::kString || std::ranges::count(kNotOfBlocks, name) > 0) return;
    const auto n = static_cast<int64_t>(metadata_.array_size(entry.key));
    if (n == 0 || (n != blocks_.count() && n != blocks_.count() - n_predict_)) {
      if (std::ranges::count(kOfBlocks, name) > 0) reject(entry.key, "has {} values for {} blocks", n, blocks_.count());
      return;
    }
    const uint64_t n_left = static_cast<uint64_t>(n - blocks_.removed_in(0, n));
    const size_t step = (entry.raw.size() - kHeader) / static_cast<size_t>(n);
    gguf::KeyValue adapted{entry.key, entry.type, entry.raw.substr(0, sizeof(uint32_t))};
    ByteWriter out(adapted.raw);
    out.number<uint64_t>(n_left);
    for (int64_t i = 0; i < n; ++i) {
      if (blocks_.is_removed(i)) continue;
      out.text(std::string_view(entry.raw).substr(kHeader + static_cast<size_t>(i) * step, step));
    }
    metadata_.set(std::move(adapted));
  }

  gguf::Metadata& metadata_;
  std::string prefix_;
  const Blocks& blocks_;
  int64_t n_predict_;
};

int64_t parse_layer(std::string_view text, std::string_view list) {
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc() || end != text.data() + text.size() || layer < 0 || layer >= kMaxLayers) {
    fail("", "--prune-layers {}: \"{}\" is no block number, expected a list like 3,7-9", printable(list),
         printable(text));
  }
  return layer;
}

}  // namespace

std::vector<int64_t> parse_layers(std::string_view list) {
  std::vector<int64_t> layers;
  for (std::string_view rest = list;;) {
    const size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    const size_t dash = item.find('-');
    const int64_t first = parse_layer(item.substr(0, dash), list);
    const int64_t last = dash == item.npos ? first : parse_layer(item.substr(dash + 1), list);
    if (last < first) fail("", "--prune-layers {}: {} ends before it begins", printable(list), printable(item));
    for (int64_t layer = first; layer <= last; ++layer) layers.push_back(layer);
    if (comma == rest.npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::ranges::sort(layers);
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

void prune(EditedModel& model, const std::vector<int64_t>& layers) {
  const std::string& source = model.metadata.source();
  const std::string prefix = std::string(model.metadata.string("general.architecture")) + ".";
  const int64_t n_blocks = model.metadata.integer(prefix + "block_count");
  const int64_t n_predict = model.metadata.integer(prefix + "nextn_predict_layers", 0);
  if (n_blocks < 1 || n_blocks > kMaxLayers)
    fail(source, "--prune-layers: the model has {} blocks, expected 1 to {}", n_blocks, kMaxLayers);
  if (n_predict < 0 || n_predict >= n_blocks)
    fail(source, "--prune-layers: {} of {} blocks are for prediction", n_predict, n_blocks);
  if (layers.back() >= n_blocks) {
    fail(source, "--prune-layers: there is no block {}, the model has blocks 0 to {}", layers.back(), n_blocks - 1);
  }
  const Blocks blocks(n_blocks, layers);
  const int64_t n_trunk = n_blocks - n_predict;
  if (blocks.removed_in(0, n_trunk) == n_trunk) fail(source, "--prune-layers: no block would be left");

  EditedModel pruned{model.metadata, {}, {}};
  std::set<int64_t> found;  // blocks to remove that the model really has
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    gguf::TensorInfo tensor = std::move(model.tensors[i]);
    imatrix::EntryName name = std::move(model.names[i]);
    if (const auto at = gguf::block_name(tensor.name)) {
      if (at->block >= n_blocks) fail(source, "tensor {} lies beyond block_count {}", printable(tensor.name), n_blocks);
      if (blocks.is_removed(at->block)) {
        found.insert(at->block);
        continue;
      }
      tensor.name = fmt::format("blk.{}{}", blocks.moved(at->block), tensor.name.substr(at->end));
      name.to = tensor.name;
    }
    pruned.tensors.push_back(std::move(tensor));
    pruned.names.push_back(std::move(name));
  }
  for (const int64_t layer : layers) {
    if (!found.contains(layer)) fail(source, "--prune-layers: no tensor is named blk.{}.*", layer);
  }
  BlockKeys(pruned.metadata, prefix, blocks, n_predict).adapt();
  model = std::move(pruned);
}

}  // namespace steelyard::quantize
