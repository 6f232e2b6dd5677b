"""Steelyard from Python: calibrate, plan, quantize, measure and look at GGUF models.

Every function is a job of the command line. Options are its long flags with underscores ("--ctx-size" is ctx_size);
sizes may be text ("24GiB"), paths may be pathlib's. Results are dicts, as --json shows them.

progress is called as progress(event), event being a dict of stage, done, total, unit and data. What it raises ends the
job, as Ctrl-C does: nothing half-written remains, and what can be resumed is on the disk. Other threads of Python run
while a job works.
"""

import json as _json
import os as _os

# Threads that wait by spinning starve those they wait for; libgomp reads this when it is loaded, with the next line.
_os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from .lib import _core  # noqa: E402

Error = _core.Error
__version__ = _core.__version__
__all__ = ["Error", "plan", "quantize", "imatrix", "write", "tune", "search", "perplexity", "fit", "bench", "inspect", "options"]


def _call(job, progress, options, **named):
    options.update((name, value) for name, value in named.items() if value is not None)
    report = None if progress is None else lambda event: progress(_json.loads(event))
    return _json.loads(getattr(_core, job)(_json.dumps(options, default=_os.fspath), report))


def options(job):
    """The options of a job by name, with their defaults."""
    return _json.loads(_core.defaults[job])


def plan(model, *, progress=None, **options):
    """What a plan does to a model: type and size of every tensor, and findings. Writes nothing."""
    return _call("plan", progress, options, model=model)


def quantize(model, output=None, type=None, *, progress=None, **options):
    """Writes a model in the types of a plan."""
    return _call("quantize", progress, options, model=model, output=output, type=type)


def imatrix(model=None, *, progress=None, **options):
    """Collects importance over a text; merges and converts importance files."""
    return _call("imatrix", progress, options, model=model)


def write(model, output_file, *, progress=None, **options):
    """Lets a model write text by itself, to calibrate on."""
    return _call("write", progress, options, model=model, output_file=output_file)


def tune(model, output, *, progress=None, **options):
    """Tunes norms, routers and block scales of a quantized file to the model that it was made from."""
    return _call("tune", progress, options, model=model, output=output)


def search(model, output, *, progress=None, **options):
    """Finds a plan for a size."""
    return _call("search", progress, options, model=model, output=output)


def perplexity(model, *, progress=None, **options):
    """Perplexity on a text, and divergence from a base model."""
    return _call("perplexity", progress, options, model=model)


def fit(model, vram, *, progress=None, **options):
    """What a model needs in the memory of devices, and the largest context they have room for."""
    return _call("fit", progress, options, model=model, vram=vram)


def bench(model, *, progress=None, **options):
    """Speed and energy over the length of the context."""
    return _call("bench", progress, options, model=model)


def inspect(*files, progress=None, **options):
    """What is in a GGUF or importance file; with diff=True what differs between two."""
    return _call("inspect", progress, options, files=list(files))
