// steelyard fit: what a model needs in the memory of devices, and the largest context that fits.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/byte_size.h"
#include "base/error.h"
#include "command.h"
#include "model/architecture.h"
#include "schedule/placement.h"

namespace steelyard::tools {
namespace {

// The context of the report when none is requested and not even this one fits.
constexpr int64_t kLeastContext = 4096;

struct Options {
  std::string model, memory, reserve = "512MiB";
  CacheTypeOptions cache_types;
  PlacementOptions placement_options;
  MemoryRequest request;
  PlacementRequest placement;
  bool json = false;
};

/// Everything the report says.
struct Fit {
  MemoryPlan plan;
  Placement placement;
  bool fits;
  int64_t largest;      ///< context
  int64_t most_layers;  ///< on the devices, with the context asked for
};

Fit fit(const gguf::Reader& reader, const ModelConfig& config, const Options& options, MemoryRequest& request) {
  const std::vector<uint64_t>& rooms = options.placement.rooms;
  Fit fit;
  fit.largest = largest_context(reader, config, request, [&](const MemoryPlan& plan) {
    return fits(plan, place_layers(plan, options.placement), rooms);
  });
  if (request.n_context == 0)
    request.n_context = fit.largest > 0 ? fit.largest : std::min(kLeastContext, config.n_context);
  fit.plan = plan_memory(reader, config, request);
  fit.placement = place_layers(fit.plan, options.placement);
  fit.fits = fits(fit.plan, fit.placement, rooms);
  fit.most_layers = most_layers(fit.plan, options.placement);
  return fit;
}

std::string_view type_name(Type type) { return format(type).name; }

void print_row(const std::string& name, LayerRange layers, const DeviceMemory& memory, const std::string& room) {
  const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  const std::string range = layers.empty() ? "-" : fmt::format("{}-{}", layers.begin, layers.end - 1);
  fmt::print("{:<10} {:>9} {:>12.1f} {:>10.1f} {:>8.1f} {:>12.1f} {:>12.1f}  {}\n", name, range, mib(memory.weights),
             mib(memory.caches), mib(memory.tables), mib(memory.activations), mib(memory.total()), room);
}

void print_report(const Fit& fit, const ModelConfig& config, const Options& options, const MemoryRequest& request,
                  uint64_t reserve) {
  const auto mib = [](uint64_t bytes) { return bytes >> 20; };
  fmt::print("{}, {} layers; context {} of {}, {} at a time; keys in {}, values in {}; batches of {}\n\n",
             config.architecture, config.layers.size(), request.n_context, config.n_context, request.n_sequences,
             type_name(request.cache_types.keys), type_name(request.cache_types.values), request.n_batch);
  fmt::print("{:<10} {:>9} {:>12} {:>10} {:>8} {:>12} {:>12}  {}\n", "MiB", "layers", "weights", "cache", "RoPE",
             "activations", "needed", "free");
  DeviceMemory sum;
  const auto add = [&](const std::string& name, LayerRange layers, const std::string& room) {
    const DeviceMemory memory = fit.plan.on_device(layers);
    sum.weights += memory.weights;
    sum.caches += memory.caches;
    sum.tables += memory.tables;
    sum.activations += memory.activations;
    print_row(name, layers, memory, room);
  };
  if (!fit.placement.host.empty()) add("host", fit.placement.host, "");
  for (size_t d = 0; d < options.placement.rooms.size(); ++d) {
    add(fmt::format("device {}", d), fit.placement.devices[d], std::to_string(mib(options.placement.rooms[d])));
  }
  print_row("sum", fit.plan.all(), sum, "");
  fmt::print("\n");
  if (reserve > 0) fmt::print("{} MiB of each device are left to its driver.\n", mib(reserve));
  if (fit.plan.prediction > 0) {
    fmt::print("The file has {:.1f} MiB in blocks that predict further tokens (NextN, MTP), which are not loaded.\n",
               static_cast<double>(fit.plan.prediction) / (1 << 20));
  }
  fmt::print("{}", fit.fits ? "It fits." : "It does not fit.");
  if (!fit.fits && fit.most_layers > 0)
    fmt::print(" With {} of {} layers on the devices (--gpu-layers {}) it would.", fit.most_layers,
               config.layers.size(), fit.most_layers);
  if (fit.largest > 0)
    fmt::print(" The largest context that fits is {}.\n", fit.largest);
  else
    fmt::print(" No context does.\n");
}

nlohmann::ordered_json to_json(const Fit& fit, const ModelConfig& config, const Options& options,
                               const MemoryRequest& request, uint64_t reserve) {
  const auto place = [&](LayerRange layers) -> nlohmann::ordered_json {
    const DeviceMemory memory = fit.plan.on_device(layers);
    return {{"first_layer", layers.begin}, {"n_layers", layers.size()}, {"weights", memory.weights},
            {"cache", memory.caches},      {"rope", memory.tables},     {"activations", memory.activations},
            {"needed", memory.total()}};
  };
  auto devices = nlohmann::ordered_json::array();
  for (size_t d = 0; d < options.placement.rooms.size(); ++d) {
    devices.push_back(place(fit.placement.devices[d]));
    devices.back()["free"] = options.placement.rooms[d];
  }
  return {{"model", printable(options.model, 4096)},
          {"architecture", config.architecture},
          {"n_layers", config.layers.size()},
          {"context", request.n_context},
          {"model_context", config.n_context},
          {"sequences", request.n_sequences},
          {"batch", request.n_batch},
          {"cache_type_k", type_name(request.cache_types.keys)},
          {"cache_type_v", type_name(request.cache_types.values)},
          {"reserve", reserve},
          {"devices", devices},
          {"host", place(fit.placement.host)},
          {"prediction", fit.plan.prediction},
          {"fits", fit.fits},
          {"largest_context", fit.largest},
          {"most_layers", fit.most_layers}};
}

void run_fit(Options& options) {
  const uint64_t reserve = parse_bytes(options.reserve);
  std::vector<uint64_t> rooms = parse_byte_list(options.memory);
  for (uint64_t& room : rooms) room -= std::min(room, reserve);
  options.placement = options.placement_options.request(std::move(rooms));
  const gguf::Reader reader(options.model, gguf::Need::kHeader);
  const ModelConfig config = read_config(reader.metadata());
  MemoryRequest& request = options.request;
  request.cache_types = options.cache_types.get();
  for (const LayerConfig& layer : config.layers) check_cache_types(layer.attention, request.cache_types);
  if (request.n_context > config.n_context)
    fail("", "a context of {} is beyond the model's {}", request.n_context, config.n_context);
  const Fit result = fit(reader, config, options, request);
  if (options.json)
    fmt::print("{}\n", to_json(result, config, options, request, reserve).dump(1));
  else
    print_report(result, config, options, request, reserve);
}

}  // namespace

void add_fit(CLI::App& app) {
  auto* command =
      app.add_subcommand("fit", "what a model needs in the memory of devices, and the context they have room for");
  auto options = std::make_shared<Options>();
  command->add_option("model,-m,--model", options->model, "GGUF model; its header is enough")->required();
  command
      ->add_option("--vram", options->memory,
                   "memory of the devices: 24GiB, 24GiBx6, or several separated by commas: 24GiBx2,16GiB")
      ->required();
  command->add_option("-c,--ctx-size", options->request.n_context, "tokens of context; by default the most that fit")
      ->check(CLI::Range(int64_t{1}, int64_t{INT32_MAX}));
  options->cache_types.add_to(*command);
  command->add_option("--sequences", options->request.n_sequences, "texts at a time, each with so much context")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("-b,--batch-size", options->request.n_batch, "tokens of a prompt that go through a layer at once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  options->placement_options.add_to(*command);
  command->add_option("--reserve", options->reserve, "of each device, what driver and libraries take")
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON, sizes in bytes");
  command->callback([options] { run_fit(*options); });
}

}  // namespace steelyard::tools
