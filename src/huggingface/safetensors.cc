// The header is foreign input: work and memory stay linear in its real size. What is not as the layout wants it is
// refused, even where it could be guessed, because two readers might guess differently.
#include "huggingface/safetensors.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_set>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text_hash.h"
#include "json/document.h"

namespace steelyard::huggingface {
namespace {

using json::Value;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the layout's own limit
constexpr size_t kMaxNameBytes = 1024;
constexpr size_t kMaxShape = 8;
constexpr std::string_view kMetadata = "__metadata__";

struct DtypeRow {
  std::string_view name;
  Dtype dtype;
  uint64_t bytes;
};

constexpr std::array kDtypes = {
    DtypeRow{"F64", Dtype::kF64, 8},        DtypeRow{"F32", Dtype::kF32, 4},
    DtypeRow{"F16", Dtype::kF16, 2},        DtypeRow{"BF16", Dtype::kBF16, 2},
    DtypeRow{"F8_E4M3", Dtype::kF8E4M3, 1}, DtypeRow{"F8_E5M2", Dtype::kF8E5M2, 1},
    DtypeRow{"F8_E8M0", Dtype::kF8E8M0, 1}, DtypeRow{"I64", Dtype::kI64, 8},
    DtypeRow{"I32", Dtype::kI32, 4},        DtypeRow{"I16", Dtype::kI16, 2},
    DtypeRow{"I8", Dtype::kI8, 1},          DtypeRow{"U64", Dtype::kU64, 8},
    DtypeRow{"U32", Dtype::kU32, 4},        DtypeRow{"U16", Dtype::kU16, 2},
    DtypeRow{"U8", Dtype::kU8, 1},          DtypeRow{"BOOL", Dtype::kBool, 1},
};

const DtypeRow& row(Dtype dtype) { return *std::ranges::find(kDtypes, dtype, &DtypeRow::dtype); }

// Reads one entry of the header. `where` names the file.
class EntryReader {
 public:
  EntryReader(const std::string& where, std::string_view name) : where_(where), name_(name) {}

  StoredTensor read(const Value& entry) const {
    if (!entry.is(Value::Kind::kObject)) reject("found {}, expected an object", entry.kind_name());
    StoredTensor tensor;
    tensor.name = name_;
    const std::string dtype = required(entry, "dtype").string().value_or("");
    const auto known = std::ranges::find(kDtypes, dtype, &DtypeRow::name);
    if (known == kDtypes.end()) reject("found dtype '{}', expected that of a known type", printable(dtype));
    tensor.dtype = known->dtype;
    for (const uint64_t n : numbers(entry, "shape")) {
      if (n > INT64_MAX) reject("found a dimension of {}, expected fewer than 2^63 values", n);
      tensor.shape.push_back(static_cast<int64_t>(n));
    }
    if (tensor.shape.size() > kMaxShape)
      reject("found {} dimensions, expected at most {}", tensor.shape.size(), kMaxShape);
    const std::vector<uint64_t> offsets = numbers(entry, "data_offsets");
    if (offsets.size() != 2) reject("found {} data_offsets, expected 2", offsets.size());
    std::tie(tensor.begin, tensor.end) = std::pair(offsets[0], offsets[1]);
    check_size(tensor);
    return tensor;
  }

 private:
  template <typename... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    fail(where_, "tensor '{}': {}", printable(name_), fmt::format(format, std::forward<Args>(args)...));
  }

  Value required(const Value& entry, std::string_view key) const {
    const auto found = entry.find(key);
    if (!found) reject("found no {}", key);
    return *found;
  }

  std::vector<uint64_t> numbers(const Value& entry, std::string_view key) const {
    const Value list = required(entry, key);
    if (!list.is(Value::Kind::kArray)) reject("found {} as {}, expected an array", list.kind_name(), key);
    std::vector<uint64_t> numbers;
    list.for_each_element([&](Value element) {
      const auto number = element.integer();
      if (!number || *number < 0)
        reject("found {} in {}, expected numbers of at least 0", printable(element.text()), key);
      numbers.push_back(static_cast<uint64_t>(*number));
    });
    return numbers;
  }

  // A dimension of 0 makes the tensor empty; the product of the others must fit then.
  void check_size(const StoredTensor& tensor) const {
    uint64_t bytes = value_bytes(tensor.dtype);
    bool empty = false;
    for (const int64_t n : tensor.shape) {
      empty = empty || n == 0;
      const auto product = n == 0 ? bytes : checked_mul(bytes, static_cast<uint64_t>(n));
      if (!product || *product > INT64_MAX)
        reject("found shape {}, expected fewer than 2^63 bytes", shape_string(tensor.shape));
      bytes = *product;
    }
    if (empty) bytes = 0;
    if (tensor.end < tensor.begin || tensor.end - tensor.begin != bytes) {
      reject("found bytes {} to {}, expected {} bytes for {} of {}", tensor.begin, tensor.end, bytes,
             shape_string(tensor.shape), huggingface::name(tensor.dtype));
    }
  }

  const std::string& where_;
  std::string_view name_;
};

}  // namespace

std::string_view name(Dtype dtype) { return row(dtype).name; }
uint64_t value_bytes(Dtype dtype) { return row(dtype).bytes; }

int64_t StoredTensor::n_values() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies());
}

std::string shape_string(std::span<const int64_t> shape) {
  std::string text;
  for (const int64_t n : shape) text += fmt::format("{}{}", text.empty() ? "" : ", ", n);
  return "[" + text + "]";
}

Safetensors::Safetensors(const std::string& path, gguf::ReadMode mode) : file_(path), mode_(mode) {
  read_header();
  std::ranges::stable_sort(tensors_, {},
                           [](const StoredTensor& tensor) { return std::pair(tensor.begin, tensor.end); });
  check_places();
}

void Safetensors::read_header() {
  ByteReader in(file_.bytes(), path());
  in.set_subject("header");
  const auto length = in.number<uint64_t>();
  if (length > kMaxHeaderBytes) in.reject("found a length of {}, expected at most {}", length, kMaxHeaderBytes);
  const std::string_view text = in.text(length);
  data_begin_ = kLengthBytes + length;
  constexpr int64_t kLevels = 4;
  const Value header = json::parse_document(text, path(), kLevels);
  if (!header.is(Value::Kind::kObject)) in.reject("found {}, expected an object", header.kind_name());
  std::unordered_set<std::string, TextHash> names;
  header.for_each_member([&](std::string_view name, Value entry) {
    if (!names.emplace(name).second) in.reject("found '{}' twice, expected once", printable(name));
    if (name == kMetadata) return;
    if (name.empty() || name.size() > kMaxNameBytes)
      in.reject("found a name of {} bytes, expected 1 to {}", name.size(), kMaxNameBytes);
    tensors_.push_back(EntryReader(path(), name).read(entry));
  });
}

// The data is all tensors, each once: nothing lies between them, before or after.
void Safetensors::check_places() const {
  uint64_t end = 0;
  for (const StoredTensor& tensor : tensors_) {
    if (tensor.begin != end) {
      fail(path(), "tensor '{}': found at byte {}, expected {}, where the one before it ends", printable(tensor.name),
           tensor.begin, end);
    }
    end = tensor.end;
  }
  const uint64_t data = file_.bytes().size() - data_begin_;
  if (mode_ == gguf::ReadMode::kHeader && data < end) return;
  if (data < end) fail(path(), "found {} bytes of tensors, expected {}; the file is cut short", data, end);
  if (data > end) fail(path(), "found {} bytes of tensors, expected {}: there are bytes of no tensor", data, end);
}

std::span<const std::byte> Safetensors::bytes(const StoredTensor& tensor) const {
  STEELYARD_CHECK(mode_ == gguf::ReadMode::kData);
  return file_.bytes().subspan(data_begin_ + tensor.begin, tensor.end - tensor.begin);
}

}  // namespace steelyard::huggingface
