// The mutator of targets whose inputs are GGUF files: libFuzzer calls it in the place of its own. It takes a header
// apart, changes one to three fields to what another valid header might have, lays the tensors out anew, and mostly
// lets one number lie. Bytes that are no header, and every eighth input, are left to libFuzzer's mutations of bytes.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "fuzz/gguf_document.h"
#include "fuzz/target.h"

namespace steelyard::fuzz {
namespace {

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  size_t below(size_t n) { return n == 0 ? 0 : engine_() % n; }
  bool one_in(size_t n) { return below(n) == 0; }
  template <typename List>
  auto& of(List& list) {
    return list[below(std::size(list))];
  }

 private:
  std::minstd_rand engine_;
};

// Keys that a model may have, without "<architecture>.".
constexpr std::string_view kModelKeys[] = {"feed_forward_length",
                                           "rope.dimension_count",
                                           "expert_gating_func",
                                           "attention.value_length",
                                           "ssm.state_size",
                                           "ssm.inner_size",
                                           "ssm.group_count",
                                           "rope.scaling.type",
                                           "rope.scaling.attn_factor",
                                           "rope.freq_base_swa",
                                           "nextn_predict_layers",
                                           "expert_weights_norm",
                                           "expert_used_count",
                                           "expert_group_count",
                                           "expert_count",
                                           "embedding_length",
                                           "context_length",
                                           "block_count",
                                           "attention.value_length_mla",
                                           "attention.temperature_scale",
                                           "attention.temperature_length",
                                           "attention.sliding_window",
                                           "attention.key_length_mla",
                                           "attention.key_length",
                                           "attention.head_count_kv",
                                           "attention.head_count",
                                           "vocab_size",
                                           "ssm.time_step_rank",
                                           "ssm.conv_kernel",
                                           "rope.scaling.yarn_log_multiplier",
                                           "rope.scaling.original_context_length",
                                           "rope.scaling.factor",
                                           "rope.scale_linear",
                                           "rope.freq_base",
                                           "rope.dimension_sections",
                                           "leading_dense_block_count",
                                           "full_attention_interval",
                                           "final_logit_softcapping",
                                           "expert_weights_scale",
                                           "expert_shared_feed_forward_length",
                                           "expert_group_used_count",
                                           "expert_feed_forward_length",
                                           "attention.sliding_window_pattern",
                                           "attention.recurrent_layers",
                                           "attention.q_lora_rank",
                                           "attention.layer_norm_rms_epsilon",
                                           "attention.kv_lora_rank"};
constexpr std::string_view kKeys[] = {"general.architecture",
                                      "general.alignment",
                                      "general.type",
                                      "split.count",
                                      "split.no",
                                      "split.tensors.count",
                                      "tokenizer.ggml.model",
                                      "tokenizer.ggml.pre",
                                      "tokenizer.ggml.tokens",
                                      "tokenizer.ggml.token_type",
                                      "tokenizer.ggml.scores",
                                      "tokenizer.ggml.merges",
                                      "tokenizer.ggml.bos_token_id",
                                      "tokenizer.ggml.eos_token_id",
                                      "tokenizer.ggml.eot_token_id",
                                      "tokenizer.ggml.add_bos_token",
                                      "tokenizer.ggml.add_eos_token",
                                      "tokenizer.ggml.add_space_prefix",
                                      "imatrix.datasets",
                                      "imatrix.chunk_count",
                                      "imatrix.chunk_size"};
constexpr std::string_view kTexts[] = {
    "llama",      "qwen2",   "qwen3",  "qwen3moe",     "qwen3next", "qwen35moe", "deepseek2", "glm4moe",
    "minimax-m2", "gpt-oss", "gemma3", "none",         "linear",    "yarn",      "longrope",  "gpt2",
    "default",    "imatrix", "<s>",    "<|im_end|>",   "<0x0A>",    "",          "\xff\xfe",  "\xe2\x96\x81",
    "\n",         "a b",     "blk.0.", "blk.1000000.", ".weight"};
constexpr std::string_view kTensorNames[] = {"token_embd.weight",
                                             "output.weight",
                                             "output_norm.weight",
                                             "output.bias",
                                             "rope_freqs.weight",
                                             "rope_factors_short.weight",
                                             "rope_factors_long.weight",
                                             "attn_qkv.weight",
                                             "attn_qkv.bias",
                                             "attn_q.weight",
                                             "attn_q.bias",
                                             "attn_q_norm.weight",
                                             "attn_sinks.weight",
                                             "attn_kv_b.weight",
                                             "attn_gate.weight",
                                             "ffn_gate_up_exps.weight",
                                             "ffn_gate_inp.bias",
                                             "exp_probs_b.bias",
                                             "ffn_gate_inp_shexp.weight",
                                             "nextn.eh_proj.weight",
                                             "nextn.embed_tokens.weight",
                                             "ffn_down.weight.in_sum2",
                                             "ffn_down.weight.counts"};
constexpr uint64_t kNumbers[] = {0,
                                 1,
                                 2,
                                 3,
                                 4,
                                 7,
                                 8,
                                 15,
                                 16,
                                 31,
                                 32,
                                 33,
                                 64,
                                 100,
                                 127,
                                 128,
                                 255,
                                 256,
                                 1000,
                                 4096,
                                 4097,
                                 65535,
                                 65536,
                                 0x1000000,
                                 0x7FFFFFFF,
                                 0x80000000,
                                 0xFFFFFFFF,
                                 0x100000000,
                                 uint64_t{1} << 40,
                                 uint64_t{1} << 60,
                                 uint64_t{1} << 62,
                                 ~uint64_t{0} >> 1,
                                 uint64_t{1} << 63,
                                 ~uint64_t{0} - 31,
                                 ~uint64_t{0}};
constexpr double kReals[] = {0, -0.0, 1, -1, 0.5, 1e-6, 1e-300, 1e300, 1e38, -1e38, 10000, 1e-45};
constexpr uint32_t kString = 8, kArray = 9;

uint64_t number(Random& random, uint64_t near) {
  switch (random.below(5)) {
    case 0:
      return near + 1;
    case 1:
      return near - 1;
    case 2:
      return random.one_in(2) ? near * 2 : near / 2;
    default:
      return random.of(kNumbers);
  }
}

// Bytes of a number of a metadata type.
std::string number_value(Random& random, uint32_t type, std::string_view old) {
  std::string bytes(std::max<size_t>(number_bytes(type), 1), '\0');
  const auto put = [&](const auto& value) { std::memcpy(bytes.data(), &value, std::min(bytes.size(), sizeof(value))); };
  if (type == 6 || type == 12) {
    double real = random.of(kReals);
    if (random.one_in(6)) real = random.one_in(2) ? HUGE_VAL : std::bit_cast<double>(~uint64_t{0});
    if (type == 6)
      put(static_cast<float>(real));
    else
      put(real);
  } else {
    uint64_t near = 0;
    std::memcpy(&near, old.data(), std::min<size_t>(old.size(), sizeof(near)));
    put(number(random, near));
  }
  return bytes;
}

std::string any_text(Random& random, const std::string& old) {
  if (random.one_in(2)) return std::string(random.of(kTexts));
  if (random.one_in(3)) return old + old;
  std::string text = old;
  if (text.size() > 1 && random.one_in(2)) return text.substr(random.below(text.size()));
  text.insert(random.below(text.size() + 1), 1, static_cast<char>(random.below(256)));
  return text;
}

void change_array(Random& random, DocumentValue& value) {
  std::vector<std::string>& elements = value.elements;
  const size_t at = random.below(elements.size());
  switch (elements.empty() ? 3 : random.below(6)) {
    case 0:
      elements.erase(elements.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      elements.push_back(elements[at]);
      break;
    case 2:
      std::swap(elements[at], random.of(elements));
      break;
    case 3:
      elements.emplace_back(value.element_type == kString ? std::string(random.of(kTexts))
                                                          : number_value(random, value.element_type, ""));
      break;
    default:
      elements[at] = value.element_type == kString ? any_text(random, elements[at])
                                                   : number_value(random, value.element_type, elements[at]);
  }
}

void change_type(Random& random, DocumentValue& value) {
  const uint32_t type = static_cast<uint32_t>(random.below(14));
  if (value.type == kArray && random.one_in(2)) {
    if (value.element_type == kString || type == kArray || number_bytes(type) == 0) return;
    value.element_type = type;
    for (std::string& element : value.elements) element.resize(number_bytes(type));
    return;
  }
  const bool was_array = value.type == kArray;
  value.type = type;
  if (type == kArray) {
    value.element_type = 4;
    value.elements.assign(random.below(5), value.scalar.substr(0, 4));
    for (std::string& element : value.elements) element.resize(4);
  } else if (type != kString) {
    if (was_array) value.scalar.clear();
    value.scalar.resize(std::max<size_t>(number_bytes(type), 1));
  }
}

std::string_view architecture(const Document& document) {
  for (const DocumentKey& entry : document.keys) {
    if (entry.key == "general.architecture") return entry.value.scalar;
  }
  return "";
}

std::string known_key(Random& random, const Document& document) {
  if (random.one_in(3)) return std::string(random.of(kKeys));
  return std::string(architecture(document)) + "." + std::string(random.of(kModelKeys));
}

void change_key(Random& random, Document& document) {
  if (document.keys.empty() || random.one_in(12)) {
    DocumentKey added{known_key(random, document), {}};
    added.value.scalar = number_value(random, 4, "");
    document.keys.insert(document.keys.begin() + static_cast<std::ptrdiff_t>(random.below(document.keys.size() + 1)),
                         std::move(added));
    return;
  }
  const size_t at = random.below(document.keys.size());
  DocumentKey& entry = document.keys[at];
  switch (random.below(10)) {
    case 0:
      document.keys.erase(document.keys.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      if (random.one_in(4)) document.keys.push_back(entry);  // twice
      break;
    case 2:
      entry.key = random.one_in(4) ? any_text(random, entry.key) : known_key(random, document);
      break;
    case 3:
      change_type(random, entry.value);
      break;
    default:
      if (entry.value.type == kArray)
        change_array(random, entry.value);
      else
        entry.value.scalar = entry.value.type == kString ? any_text(random, entry.value.scalar)
                                                         : number_value(random, entry.value.type, entry.value.scalar);
  }
}

std::string tensor_name(Random& random, const std::string& old) {
  if (random.one_in(4)) return any_text(random, old);
  const size_t dot = old.starts_with("blk.") ? old.find('.', 4) : std::string::npos;
  std::string block = "blk." + std::to_string(random.one_in(8) ? random.of(kNumbers) : random.below(4)) + ".";
  if (dot != std::string::npos && random.one_in(2)) return block + old.substr(dot + 1);
  return (random.one_in(3) ? "" : block) + std::string(random.of(kTensorNames));
}

void change_tensor(Random& random, Document& document) {
  if (document.tensors.empty()) return document.tensors.push_back({"output.weight", {32, 2}, 0, 0});
  const size_t at = random.below(document.tensors.size());
  DocumentTensor& tensor = document.tensors[at];
  switch (random.below(9)) {
    case 0:
      document.tensors.erase(document.tensors.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1: {
      DocumentTensor copy = tensor;
      if (!random.one_in(4)) copy.name = tensor_name(random, copy.name);
      document.tensors.push_back(std::move(copy));
      break;
    }
    case 2:
      tensor.name = tensor_name(random, tensor.name);
      break;
    case 3:
      tensor.type = static_cast<uint32_t>(random.below(48));
      break;
    case 4:
      if (random.one_in(2) && !tensor.dims.empty())
        tensor.dims.pop_back();
      else
        tensor.dims.push_back(random.one_in(2) ? 1 : number(random, 1));
      break;
    case 5:
      if (tensor.dims.size() > 1) std::swap(tensor.dims[0], tensor.dims[1]);
      break;
    case 6:
      if (!tensor.dims.empty())
        random.of(tensor.dims) = random.of(random.of(document.tensors).dims.empty() ? tensor.dims : tensor.dims);
      break;
    default:
      if (!tensor.dims.empty()) {
        uint64_t& dim = random.of(tensor.dims);
        dim = number(random, dim);
      }
  }
}

Lie lie(Random& random, const Document& document) {
  Lie told;
  told.about = static_cast<Lie::About>(1 + random.below(8));
  uint64_t truth = 0;
  if (told.about == Lie::About::kDimCount || told.about == Lie::About::kNameLength) {
    told.which = random.below(document.tensors.size());
  } else if (told.about == Lie::About::kTensorCount) {
    truth = document.tensors.size();
  } else if (told.about == Lie::About::kKeyCount) {
    truth = document.keys.size();
  } else if (told.about != Lie::About::kVersion) {
    told.which = random.below(document.keys.size());
    if (!document.keys.empty()) truth = document.keys[told.which].value.elements.size();
  }
  told.value = number(random, truth);
  return told;
}

std::string mutate(Random& random, Document document) {
  const bool has_tensors = !document.tensors.empty();
  for (size_t change = 0; change <= random.below(3); ++change) {
    if (random.one_in(2) || (!has_tensors && !random.one_in(8)))
      change_key(random, document);
    else
      change_tensor(random, document);
  }
  if (!random.one_in(4)) document.lay_out();
  if (random.one_in(16) && !document.tensors.empty()) {
    uint64_t& offset = random.of(document.tensors).offset;
    offset = number(random, offset);
  }
  if (!document.tail.empty() && random.one_in(4)) {  // what follows the header is text for some targets
    std::string& tail = document.tail;
    tail.resize(std::min<size_t>(tail.size(), 4096));
    const size_t size = tail.size();
    tail.resize(size + 32);
    tail.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(tail.data()), size, tail.size()));
  }
  return document.write(random.one_in(5) ? lie(random, document) : Lie{});
}

size_t take(const std::string& bytes, uint8_t* data, size_t max_size) {
  std::memcpy(data, bytes.data(), bytes.size());
  return std::min(bytes.size(), max_size);
}

}  // namespace
}  // namespace steelyard::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace steelyard::fuzz;
  Random random(seed);
  const auto document = random.one_in(8) ? std::nullopt : parse_document(as_text(data, size));
  if (!document) return LLVMFuzzerMutate(data, size, max_size);
  const std::string bytes = mutate(random, *document);
  return bytes.size() <= max_size ? take(bytes, data, max_size) : LLVMFuzzerMutate(data, size, max_size);
}

// The keys of one file, the tensors of another.
extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1, const uint8_t* data2, size_t size2,
                                            uint8_t* out, size_t max_size, unsigned seed) {
  using namespace steelyard::fuzz;
  Random random(seed);
  auto one = parse_document(as_text(data1, size1));
  const auto other = parse_document(as_text(data2, size2));
  if (!one || !other) return 0;
  if (random.one_in(2)) {
    one->tensors = other->tensors;
  } else if (!other->keys.empty()) {
    for (size_t i = 0; i < 3; ++i) {
      const DocumentKey& from = other->keys[random.below(other->keys.size())];
      const auto same = std::ranges::find(one->keys, from.key, &DocumentKey::key);
      if (same != one->keys.end())
        same->value = from.value;
      else
        one->keys.push_back(from);
    }
  }
  one->lay_out();
  const std::string bytes = one->write();
  return bytes.size() <= max_size ? take(bytes, out, max_size) : 0;
}
