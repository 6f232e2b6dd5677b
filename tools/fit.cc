// steelyard fit: what a model needs in the memory of devices, and the largest context they have room for.
#include "jobs/fit.h"

#include <fmt/format.h>

#include "command.h"
#include "jobs/json.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

void print_row(const std::string& name, const jobs::FitDevice& device, const std::string& free) {
  const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  const std::string range =
      device.n_layers == 0 ? "-" : fmt::format("{}-{}", device.first_layer, device.first_layer + device.n_layers - 1);
  print_out("{:<10} {:>9} {:>12.1f} {:>10.1f} {:>8.1f} {:>12.1f} {:>12.1f}  {}\n", name, range, mib(device.weights),
            mib(device.cache), mib(device.rope), mib(device.activations), mib(device.needed), free);
}

jobs::FitDevice sum(const jobs::FitResult& result) {
  jobs::FitDevice all = result.host;
  all.first_layer = 0;
  all.n_layers = result.n_layers;
  for (const jobs::FitDevice& device : result.devices) {
    all.weights += device.weights;
    all.cache += device.cache;
    all.rope += device.rope;
    all.activations += device.activations;
    all.needed += device.needed;
  }
  return all;
}

void print(const jobs::FitResult& result) {
  const auto mib = [](uint64_t bytes) { return bytes >> 20; };
  if (!result.plan.empty()) print_out("as {} would make it:\n", result.plan);
  print_out("{}, {} layers; context {} of {}, {} sequences; keys {}, values {}; batch {}\n\n", result.architecture,
            result.n_layers, result.context, result.model_context, result.sequences, result.cache_type_k,
            result.cache_type_v, result.batch);
  print_out("{:<10} {:>9} {:>12} {:>10} {:>8} {:>12} {:>12}  {}\n", "MiB", "layers", "weights", "cache", "RoPE",
            "activations", "needed", "free");
  if (result.host.n_layers > 0) print_row("host", result.host, "");
  for (size_t d = 0; d < result.devices.size(); ++d) {
    print_row(fmt::format("device {}", d), result.devices[d], std::to_string(mib(result.devices[d].free)));
  }
  print_row("sum", sum(result), "");
  print_out("\n");
  if (result.reserve > 0) print_out("{} MiB of each device are reserved for its driver.\n", mib(result.reserve));
  if (result.prediction > 0) {
    print_out("The file has {:.1f} MiB in blocks that predict further tokens (NextN, MTP), which are not loaded.\n",
              static_cast<double>(result.prediction) / (1 << 20));
  }
  print_out("{}", result.fits ? "It fits." : "It does not fit.");
  if (!result.fits && result.most_layers > 0) {
    print_out(" With {} of {} layers on the devices (--gpu-layers {}) it fits.", result.most_layers, result.n_layers,
              result.most_layers);
  }
  if (result.largest_context > 0)
    print_out(" The largest context that fits is {}.\n", result.largest_context);
  else
    print_out(" No context fits.\n");
}

}  // namespace

void add_fit(CLI::App& app) {
  auto* command = app.add_subcommand("fit", "memory that a model needs on devices, and the largest context that fits");
  auto options = std::make_shared<jobs::FitOptions>();
  auto json = std::make_shared<bool>(false);
  command->add_option("model,-m,--model", options->model, "GGUF model (only its header is read)")->required();
  add_options(*command, options->devices)->required();
  command->add_option("-c,--ctx-size", options->ctx_size, "context in tokens; default: the largest that fits")
      ->check(CLI::Range(int64_t{1}, int64_t{INT32_MAX}));
  add_options(*command, options->source);
  command->add_option("--imatrix", options->imatrix, "with a plan: resolve it as if this importance matrix were used");
  command->add_flag("--json", *json, "print JSON, with sizes in bytes");
  command->callback([options, json] {
    const jobs::FitResult result = jobs::fit(*options);
    if (*json)
      print_out("{}\n", jobs::json_text(jobs::to_json(result), 1));
    else
      print(result);
  });
}

}  // namespace steelyard::tools
