"""Writes steelyard/__init__.pyi from the options of the jobs:

    PYTHONPATH=build/python python3 python/make_stubs.py > python/steelyard/__init__.pyi

The names and defaults are those that the compiled module knows, so a new field of an options struct shows here; the test
compares the file with this program's output.
"""

import sys

sys.path.pop(0)  # this folder, whose package has no compiled part

import steelyard  # noqa: E402

# What each function takes by position, and whether it must be given.
POSITIONAL = {
    "plan": [("model", True)],
    "quantize": [("model", True), ("output", False), ("type", False)],
    "imatrix": [("model", False)],
    "write": [("model", True), ("output_file", True)],
    "tune": [("model", True), ("output", True)],
    "search": [("model", True), ("output", True)],
    "perplexity": [("model", True)],
    "fit": [("model", True), ("vram", True)],
    "bench": [("model", True)],
}
PATHS = {"model", "output", "file", "plan", "imatrix", "calibrate", "resume", "output_file", "tensor_type_file",
         "kl_divergence_base", "tokens", "dump_logits", "from", "writer", "save_text", "excerpts_of", "teacher",
         "conversations", "chat_template",
         "report"}
SIZES = {"memory", "size", "reserve", "slab", "split_max_size"}


def kind(name, value):
    if name in SIZES:
        return "int | str"
    if name in PATHS:
        return "Path"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list):
        return "list[%s]" % ("float" if name == "tensor_split" else kind("", value[0]) if value else "str")
    return "str" if isinstance(value, str) else "Any"


def signature(job):
    options = steelyard.options(job)
    lines = []
    for name, required in POSITIONAL.get(job, []):
        lines.append("%s: %s%s" % (name, kind(name, options.pop(name)), "" if required else " | None = ..."))
    if job == "inspect":
        options.pop("files")
        lines.append("*files: Path")
    else:
        lines.append("*")
    lines.append("progress: Progress = ...")
    # A keyword of the language can be given as **{"from": ...} only.
    lines += ["%s: %s = ..." % (name, kind(name, value)) for name, value in options.items() if name != "from"]
    return "def %s(\n    %s,\n) -> dict[str, Any]: ..." % (job, ",\n    ".join(lines))


def main():
    print("# Written by make_stubs.py.")
    print("from collections.abc import Callable\nfrom os import PathLike\nfrom typing import Any\n")
    print("Path = str | PathLike[str]\nProgress = Callable[[dict[str, Any]], object] | None\n\n__version__: str\n")
    print("class Error(RuntimeError): ...\n\ndef options(job: str) -> dict[str, Any]: ...")
    for job in ("plan", "quantize", "imatrix", "write", "tune", "search", "perplexity", "fit", "bench", "inspect"):
        print(signature(job))


if __name__ == "__main__":
    main()
