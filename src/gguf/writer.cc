#include "gguf/writer.h"

#include <utility>

#include "base/check.h"

namespace steelyard::gguf {

Writer::Writer(const std::string& path, const Metadata& metadata, std::vector<TensorInfo> tensors)
    : file_(path), layout_(lay_out(path, metadata, std::move(tensors))) {
  file_.reserve(layout_.file_bytes);
  file_.append(layout_.header);
}

void Writer::pass_over_empty() {
  while (current_ < layout_.tensors.size() && layout_.tensors[current_].n_bytes == 0) ++current_;
}

void Writer::append(std::span<const std::byte> bytes) {
  // Nothing, of an empty tensor: these are passed over below.
  if (bytes.empty() && current_ < layout_.tensors.size()) return;
  pass_over_empty();
  STEELYARD_CHECK(current_ < layout_.tensors.size());
  const uint64_t n_bytes = layout_.tensors[current_].n_bytes;
  STEELYARD_CHECK(bytes.size() <= n_bytes - current_bytes_);
  file_.append(bytes);
  current_bytes_ += bytes.size();
  if (current_bytes_ < n_bytes) return;
  ++current_;
  current_bytes_ = 0;
  const bool last = current_ == layout_.tensors.size();
  const uint64_t next = last ? layout_.file_bytes : layout_.begin(layout_.tensors[current_]);
  file_.append(std::string(next - file_.size(), '\0'));
}

void Writer::finish() {
  pass_over_empty();
  STEELYARD_CHECK(current_ == layout_.tensors.size() && file_.size() == layout_.file_bytes);
  file_.finish();
}

}  // namespace steelyard::gguf
