// Here the rows of backends.def meet the folders that implement them.
#include "compute/backends.h"

#include <charconv>
#include <vector>

#include "base/error.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/cuda/cuda.h"
#include "compute/ref/ref_backend.h"

#ifdef STEELYARD_WITH_CUDA
#define IF_CUDA(function) function
#else
#define IF_CUDA(function) nullptr
#endif

namespace steelyard::compute {
namespace {

std::unique_ptr<Backend> make_cpu_backend(int /*device*/, Precision precision) {
  return std::make_unique<CpuBackend>(precision);
}
std::unique_ptr<Backend> make_ref_backend(int /*device*/, Precision /*precision*/) {
  return std::make_unique<RefBackend>();
}
std::unique_ptr<formats::DeviceEncoder> own_encoders(int /*device*/) { return nullptr; }
std::string no_address(int /*device*/) { return ""; }

constexpr BackendKind kKinds[] = {
#define BACKEND(name, purpose, addressing, option, make, make_encoder, address) \
  {name, purpose, BackendKind::addressing, option, make, make_encoder, address},
#include "compute/backends.def"
#undef BACKEND
};

// The backend of that name, which is in this program.
BackendName find_built_in(std::string_view name) {
  const auto found = parse_backend_name(name);
  if (!found) fail("", "unknown backend \"{}\" (known: {})", printable(name), known_backends());
  if (!found->kind->is_built_in()) {
    fail("", "backend {}: this program was built without it ({}=ON builds it in)", printable(name),
         found->kind->option);
  }
  return *found;
}

}  // namespace

std::span<const BackendKind> backend_kinds() { return kKinds; }

std::string BackendKind::spelling(std::string_view between) const {
  return addressing == kNumbered ? fmt::format("{}{}{}:N", name, between, name) : std::string(name);
}

std::optional<BackendName> parse_backend_name(std::string_view name) {
  for (const BackendKind& kind : backend_kinds()) {
    if (name == kind.name) return BackendName{&kind, 0};
    std::string_view number = name;
    if (kind.addressing != BackendKind::kNumbered || !number.starts_with(kind.name)) continue;
    number.remove_prefix(kind.name.size());
    if (!number.starts_with(':')) continue;
    number.remove_prefix(1);
    int device = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), device);
    const bool whole = error == std::errc() && end == number.data() + number.size();
    if (whole && device >= 0) return BackendName{&kind, device};
  }
  return std::nullopt;
}

std::string known_backends() {
  std::vector<std::string> names;
  for (const BackendKind& kind : backend_kinds()) names.push_back(kind.spelling());
  return fmt::format("{}", fmt::join(names, ", "));
}

// Of a kind that is not in this program the encoder is not known: it is listed as what another build may have.
std::string encoding_backends() {
  std::vector<std::string> names;
  for (const BackendKind& kind : backend_kinds()) {
    if (kind.make_encoder != nullptr || !kind.is_built_in()) names.push_back(kind.spelling());
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string describe_backends() {
  std::vector<std::string> texts;
  for (const BackendKind& kind : backend_kinds())
    texts.push_back(fmt::format("{}: {}", kind.spelling(" or "), kind.purpose));
  return fmt::format("{}", fmt::join(texts, "; "));
}

std::unique_ptr<Backend> make_backend(std::string_view name, Precision precision) {
  const auto [kind, device] = find_built_in(name);
  return kind->make(device, precision);
}

std::string device_address(std::string_view backend) {
  const auto [kind, device] = find_built_in(backend);
  return kind->address(device);
}

std::unique_ptr<formats::DeviceEncoder> make_device_encoder(std::string_view backend) {
  const auto [kind, device] = find_built_in(backend);
  if (kind->make_encoder == nullptr) fail("", "no encoders on \"{}\" (known: {})", backend, encoding_backends());
  return kind->make_encoder(device);
}

}  // namespace steelyard::compute
