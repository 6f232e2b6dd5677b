// The command line and the jobs' options are the same options: each long flag of a subcommand is a field of the struct
// that its job takes, with dashes for underscores, and each field is a flag. What is otherwise is listed here.
#include "options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/byte_size.h"
#include "command.h"
#include "jobs/bench.h"
#include "jobs/chat.h"
#include "jobs/fit.h"
#include "jobs/imatrix.h"
#include "jobs/inspect.h"
#include "jobs/perplexity.h"
#include "jobs/plan.h"
#include "jobs/quantize.h"
#include "jobs/run.h"
#include "jobs/search.h"
#include "jobs/serve.h"
#include "jobs/tune.h"
#include "jobs/write.h"

namespace steelyard::tools {
namespace {

using Names = std::set<std::string>;

// The names of a subcommand's options: long flags and positional arguments, as fields are written.
Names flags(void (*add)(CLI::App&), const std::string& subcommand) {
  CLI::App app;
  add(app);
  Names names;
  for (const CLI::Option* option : app.get_subcommand(subcommand)->get_options()) {
    Names of = {option->get_lnames().begin(), option->get_lnames().end()};
    if (of.empty()) of.insert(option->get_name(/*positional=*/true));
    for (std::string name : of) {
      std::ranges::replace(name, '-', '_');
      names.insert(name);
    }
  }
  return names;
}

template <class Options>
Names fields() {
  Names names;
  const jobs::Json json = jobs::to_json(Options());
  for (const auto& [name, value] : json.items()) names.insert(name);
  return names;
}

Names without(const Names& names, const Names& exceptions) {
  Names rest;
  std::ranges::set_difference(names, exceptions, std::inserter(rest, rest.end()));
  return rest;
}

// `no_field`: flags that say how to print or judge, and other names of a field. `no_flag`: fields that the job shares
// with others and refuses.
template <class Options>
void expect_same(void (*add)(CLI::App&), const std::string& subcommand, const Names& no_field,
                 const Names& no_flag = {}) {
  const Names known_flags = flags(add, subcommand), known_fields = fields<Options>();
  for (const std::string& name : no_field) EXPECT_TRUE(known_flags.contains(name)) << name << " is no flag";
  for (const std::string& name : no_flag) EXPECT_TRUE(known_fields.contains(name)) << name << " is no field";
  EXPECT_EQ(without(known_flags, no_field), without(known_fields, no_flag)) << subcommand;
}

TEST(Options, OfTheCommandLineAreThoseOfTheJobs) {
  expect_same<jobs::PlanOptions>(add_plan, "plan", {"help", "json"});
  expect_same<jobs::QuantizeOptions>(add_quantize, "quantize", {"help", "json", "devices", "n_gpu_layers"});
  expect_same<jobs::ImatrixOptions>(add_imatrix, "imatrix", {"help", "devices", "chunk", "n_gpu_layers"},
                                    {"ppl_stride"});
  expect_same<jobs::FitOptions>(add_fit, "fit", {"help", "json", "n_gpu_layers"});
  // Tasks are a job of their own. Scratch files lie beside the report.
  expect_same<jobs::PerplexityOptions>(
      add_perplexity, "perplexity",
      {"help", "json", "devices", "chunk", "n_gpu_layers", "fail_above", "hellaswag", "hellaswag_tasks", "winogrande",
       "winogrande_tasks", "multiple_choice", "multiple_choice_tasks"},
      {"scratch_folder"});
  expect_same<jobs::RunOptions>(add_run, "run",
                                {"help", "devices", "n_gpu_layers", "interactive", "quiet", "raw", "reasoning"});
  expect_same<jobs::ChatOptions>(add_chat, "chat", {"help", "devices", "n_gpu_layers", "reasoning", "raw"});
  expect_same<jobs::ServeOptions>(add_serve, "serve", {"help", "devices", "n_gpu_layers", "quiet"});
  expect_same<jobs::WriteOptions>(add_write, "write", {"help", "devices", "n_gpu_layers"});
  expect_same<jobs::TuneOptions>(add_tune, "tune", {"help", "chunk"}, {"ppl_stride"});
  expect_same<jobs::SearchOptions>(add_search, "search", {"help", "json", "chunk", "n_gpu_layers"}, {"ppl_stride"});
  expect_same<jobs::BenchOptions>(add_bench, "bench", {"help", "json", "svg", "devices", "n_gpu_layers"});
  expect_same<jobs::InspectOptions>(add_inspect, "inspect", {"help", "json"});
}

// The same values without a flag as in a program or a recipe that says nothing.
TEST(Options, DefaultsOfTheCommandLineAreThoseOfTheJobs) {
  CLI::App app;
  add_quantize(app);
  const jobs::Json defaults = jobs::to_json(jobs::QuantizeOptions());
  for (const auto& [name, value] : defaults.items()) {
    std::string flag = "--" + name;
    std::ranges::replace(flag, '_', '-');
    const CLI::Option* option = app.get_subcommand("quantize")->get_option_no_throw(flag);
    if (option == nullptr || option->get_default_str().empty()) continue;
    std::string written = value.is_string() ? value.get<std::string>() : value.dump();
    if (value.is_array()) std::erase(written, '"');  // names in brackets
    const std::string is = option->get_type_name() == "SIZE" ? std::to_string(parse_bytes(option->get_default_str()))
                                                             : option->get_default_str();
    EXPECT_TRUE(written == is || written == is + ".0") << flag << " " << is;
  }
}

}  // namespace
}  // namespace steelyard::tools
