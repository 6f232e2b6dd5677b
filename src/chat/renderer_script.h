// The program that renders templates, in a process of its own: Python with Jinja2, and of it only what the Hugging Face
// library gives to templates (transformers/utils/chat_template_utils.py has the list: an immutable sandbox,
// trim_blocks, lstrip_blocks, loopcontrols, tojson without HTML escapes, raise_exception, strftime_now, {% generation
// %}).
//
// It reads lines of JSON and answers each with one:
//   {"templates": {NAME: SOURCE}, "cpu": SECONDS, "output": BYTES, "filter": HEX, "now": ISO TIME or ""}, the first
//   line → {"ready": whether the filter is in force} or {"missing": why}
//   {"name": NAME, "input": {...}} → {"text": ...} or {"error": ..., "kind": the exception's class}
// Once it is ready it can open nothing any more. Called by Renderer only.
#pragma once

#include <string_view>

namespace steelyard::chat {

inline constexpr std::string_view kRendererScript = R"python(
import sys

# Site packages as Debian has them; -S leaves out all of `site`.
version = "%d.%d" % sys.version_info[:2]
sys.path += ["/usr/lib/python3/dist-packages", "/usr/local/lib/python%s/dist-packages" % version]

import codecs, datetime, json, resource, time


def answer(**fields):
    line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


try:
    import jinja2, jinja2.debug, jinja2.ext, jinja2.nodes, jinja2.sandbox
except ImportError as error:
    answer(missing=str(error))
    sys.exit(1)

options = json.loads(sys.stdin.buffer.readline())


def confine():
    """Nothing can be opened, and no process made. True if other calls are refused, too."""
    time.localtime()  # reads the time zone
    for limit, most in ((resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_NPROC, 0)):
        resource.setrlimit(limit, (most, most))
    code = bytes.fromhex(options["filter"])
    try:
        import ctypes
    except (ImportError, OSError):
        return False
    if not code:
        return False

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    program = Program(len(code) // 8, code)
    prctl, word = ctypes.CDLL(None).prctl, ctypes.c_ulong
    if prctl(PR_SET_NO_NEW_PRIVS, word(1), word(0), word(0), word(0)) != 0:
        return False
    return prctl(PR_SET_SECCOMP, word(SECCOMP_MODE_FILTER), ctypes.byref(program), word(0), word(0)) == 0


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %} stands around what an assistant wrote: its content is rendered."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("content"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def content(self, context, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def strftime_now(format):
    now = options["now"]
    return (datetime.datetime.fromisoformat(now) if now else datetime.datetime.now()).strftime(format)


environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = strftime_now
compiled = {}

# What is imported when it is first used: after this there is nothing to import from.
for codec in ("unicode_escape", "ascii", "latin_1", "utf_8"):
    codecs.lookup(codec)
environment.from_string(r"{{ 'a\n' | title | tojson | pprint }}{{ '%s' | format(1) }}{{ [1] | random }}").render()
try:
    environment.from_string("{{ x.y }}").render()
except jinja2.UndefinedError:
    pass


class TooMuch(Exception):
    pass


def render(name, input):
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds, most = int(used.ru_utime + used.ru_stime + options["cpu"]) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if most < 0 else min(seconds, most), most))
    if name not in compiled:
        compiled[name] = environment.from_string(options["templates"][name])
    pieces, size = [], 0
    for piece in compiled[name].generate(input):
        pieces.append(piece)
        size += len(piece)
        if size > options["output"]:
            raise TooMuch()
    return "".join(pieces)


answer(ready=confine())
for line in sys.stdin.buffer:
    try:
        request = json.loads(line)
        answer(text=render(request["name"], request["input"]))
    except TooMuch:
        answer(error="", kind="output")
    except MemoryError:
        answer(error="", kind="memory")
    except RecursionError:
        answer(error="it calls itself too deeply", kind="RecursionError")
    except Exception as error:
        place = "line %d: " % error.lineno if isinstance(error, jinja2.TemplateSyntaxError) else ""
        answer(error=place + str(error), kind=type(error).__name__)
)python";

}  // namespace steelyard::chat
