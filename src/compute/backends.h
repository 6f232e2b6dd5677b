// Backends by name: "cpu", "cuda" (its first device), "cuda:2". The table is backends.def; no other file lists them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "compute/backend.h"
#include "formats/device_encoder.h"

namespace steelyard::compute {

/// A row of backends.def.
struct BackendKind {
  enum Addressing {
    kAlone,     ///< by its name: there is one
    kNumbered,  ///< by its name the first device, as "name:N" device N
  };

  std::string_view name;
  std::string_view purpose;  ///< for help texts
  Addressing addressing;
  std::string_view option;  ///< of CMake, which builds it in; empty: always there
  /// Null: not in this program. Error when there is no such device.
  std::unique_ptr<Backend> (*make)(int device, Precision precision);
  /// Gives null where types' own encoders are all there is. Null: nothing can be encoded with this backend.
  std::unique_ptr<formats::DeviceEncoder> (*make_encoder)(int device);
  /// The PCI address of a device, empty where it has none.
  std::string (*address)(int device);

  bool is_built_in() const { return make != nullptr; }
  /// "cpu", or "cuda, cuda:N".
  std::string spelling(std::string_view between = ", ") const;
};

std::span<const BackendKind> backend_kinds();

struct BackendName {
  const BackendKind* kind;
  int device;  ///< 0 where it is not numbered
};
/// Nothing where no backend is called that.
std::optional<BackendName> parse_backend_name(std::string_view name);

/// For messages: "cpu, cuda, cuda:N, ref".
std::string known_backends();
/// The same of those that encode.
std::string encoding_backends();
/// For help texts: "cpu: the processor; cuda or cuda:N: ...".
std::string describe_backends();

/// The PCI address of a backend's device, by the backend's name; empty if it has none.
std::string device_address(std::string_view backend);

/// What encodes on a backend's device; null for "cpu", where every type's own Encoder is all there is. Error for a name
/// that does not encode, and where there is no such device.
std::unique_ptr<formats::DeviceEncoder> make_device_encoder(std::string_view backend);

}  // namespace steelyard::compute
