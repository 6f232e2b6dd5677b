// The jobs as functions of Python's module steelyard._core: options come as the JSON of a job's options struct, results
// go back as JSON, so that a new field needs no line here. python/steelyard/__init__.py wraps them for people.
//
// The interpreter's lock is released while a job works and taken for each call of progress; signals are looked at then,
// so that Ctrl-C ends a job as an error does: nothing half-written remains.
#include <pybind11/pybind11.h>

#include <string>

#include "base/error.h"
#include "jobs/bench.h"
#include "jobs/fit.h"
#include "jobs/imatrix.h"
#include "jobs/inspect.h"
#include "jobs/perplexity.h"
#include "jobs/plan.h"
#include "jobs/quantize.h"
#include "jobs/search.h"
#include "jobs/tune.h"
#include "jobs/write.h"

namespace py = pybind11;

namespace steelyard::python {
namespace {

using jobs::Json;

std::string text(const Json& json) { return jobs::json_text(json); }

Json parsed(const std::string& options) { return Json::parse(options); }

jobs::ProgressCallback callback(const py::object& progress) {
  return [&progress](const jobs::Progress& at) {
    const py::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (progress.is_none()) return;
    const Json event = {
        {"stage", at.stage}, {"done", at.done}, {"total", at.total}, {"unit", at.unit}, {"data", at.data}};
    progress(text(event));
  };
}

// Job: a function of options and progress. Python sees name(options: str, progress) -> str, and defaults(name).
template <class Options, class Result>
void add_job(py::module_& module, py::dict& defaults, const char* name,
             Result (*job)(const Options&, const jobs::ProgressCallback&)) {
  defaults[name] = text(jobs::to_json(Options{}));
  module.def(name, [job, name](const std::string& options, const py::object& progress) {
    Options read;
    jobs::read_json(parsed(options), read, name);
    const jobs::ProgressCallback report = callback(progress);
    Json result;
    {
      const py::gil_scoped_release unlocked;
      result = jobs::to_json(job(read, report));
    }
    return text(result);
  });
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  py::register_exception<Error>(module, "Error", PyExc_RuntimeError);
  py::dict defaults;
  add_job(module, defaults, "plan", &jobs::plan);
  add_job(module, defaults, "quantize", &jobs::quantize);
  add_job(module, defaults, "imatrix", &jobs::imatrix);
  add_job(module, defaults, "write", &jobs::write);
  add_job(module, defaults, "tune", &jobs::tune);
  add_job(module, defaults, "search", &jobs::search);
  add_job(module, defaults, "perplexity", &jobs::perplexity);
  // Arithmetic over a header: there is no progress to speak of.
  add_job<jobs::FitOptions, jobs::FitResult>(
      module, defaults, "fit",
      [](const jobs::FitOptions& options, const jobs::ProgressCallback&) { return jobs::fit(options); });
  add_job(module, defaults, "bench", &jobs::bench);
  add_job(module, defaults, "inspect", &jobs::inspect);
  module.attr("defaults") = defaults;
  module.attr("__version__") = STEELYARD_VERSION;
}

}  // namespace steelyard::python
