// A GGUF header as a list of fields that may lie: what the mutator of gguf_mutator.cc changes and writes again. Unlike
// gguf::Reader it believes any value that can be cut out of the bytes, and writes any value that it is told to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"

namespace steelyard::fuzz {

/// A value as in the file, after the type id. Of arrays of fixed width or strings, the elements apart.
struct DocumentValue {
  uint32_t type = 4;
  std::string scalar;  ///< of a number or bool; of a string its text
  uint32_t element_type = 4;
  std::vector<std::string> elements;
};

struct DocumentKey {
  std::string key;
  DocumentValue value;
};

struct DocumentTensor {
  std::string name;
  std::vector<uint64_t> dims;
  uint32_t type = 0;
  uint64_t offset = 0;
};

/// One number that says something else than the fields do.
struct Lie {
  enum class About {
    kNothing,
    kVersion,
    kTensorCount,
    kKeyCount,
    kKeyLength,
    kStringLength,
    kArrayCount,
    kDimCount,
    kNameLength
  };

  About about = About::kNothing;
  size_t which = 0;  ///< of the keys or tensors
  uint64_t value = 0;
};

struct Document {
  uint32_t version = 3;
  std::vector<DocumentKey> keys;
  std::vector<DocumentTensor> tensors;
  std::string tail;  ///< all that follows the tensors, padding included

  /// Gives all tensors the places that a writer would.
  void lay_out();
  std::string write(const Lie& lie = {}) const;
};

/// Nothing where the bytes end too early or are something else.
std::optional<Document> parse_document(std::string_view bytes);

/// Bytes of a number of a metadata type; 0 for strings, arrays and unknown types.
size_t number_bytes(uint32_t type);

}  // namespace steelyard::fuzz
