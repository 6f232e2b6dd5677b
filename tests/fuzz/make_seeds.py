#!/usr/bin/env python3
"""Seeds of fuzz targets: make_seeds.py SOURCE_FOLDER OUTPUT_FOLDER writes OUTPUT_FOLDER/TARGET/NAME.

Small on purpose, for speed: models are headers only, cut to two or four layers and a few tokens; vocabularies have a
hundred tokens. All is made from tests/golden and plans/, or by hand. Needs nothing but Python.
"""

import hashlib
import json
import pathlib
import re
import struct
import sys

NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
# Values and bytes of a block, of the types that occur in goldens and below.
BLOCKS = {24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 14: (256, 210), 30: (1, 2)}
IDENTITY = b"0" * 64


class Gguf:
    """keys: {name: (type, value)}, arrays as (element type, list); tensors: [(name, dims, type)]."""

    def __init__(self, path=None):
        self.keys, self.tensors = {}, []
        if path is None:
            return
        self.bytes, self.at = path.read_bytes(), 8
        n_tensors, n_keys = self.take("<QQ")
        for _ in range(n_keys):
            name, (kind,) = self.text(), self.take("<I")
            self.keys[name] = (kind, self.value(kind))
        infos = []
        for _ in range(n_tensors):
            name, (n_dims,) = self.text(), self.take("<I")
            dims, (kind, offset) = list(self.take(f"<{n_dims}Q")), self.take("<IQ")
            infos.append((name, dims, kind, offset))
        begin = -(-self.at // 32) * 32
        self.tensors = [(name, dims, kind) for name, dims, kind, _ in infos]
        self.data = {name: (begin + offset, tensor_bytes(dims, kind)) for name, dims, kind, offset in infos}

    def take(self, layout):
        values = struct.unpack_from(layout, self.bytes, self.at)
        self.at += struct.calcsize(layout)
        return values

    def text(self):
        (n,) = self.take("<Q")
        self.at += n
        return self.bytes[self.at - n : self.at]

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            of, n = self.take("<IQ")
            return of, [self.value(of) for _ in range(n)]
        return self.take(NUMBERS[kind])[0]

    def content(self, name):
        begin, n = self.data[name]
        return self.bytes[begin : begin + n]

    def write(self, data=b"", version=3):
        out = [b"GGUF", struct.pack("<IQQ", version, len(self.tensors), len(self.keys))]
        for name, (kind, value) in self.keys.items():
            out += [packed_text(name), struct.pack("<I", kind), packed(kind, value)]
        offset = 0
        for name, dims, kind in self.tensors:
            out += [packed_text(name), struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)]
            offset += -(-tensor_bytes(dims, kind) // 32) * 32
        head = b"".join(out)
        return head + (bytes(-len(head) % 32) + data if data else b"")

    def with_key(self, name, kind, value):
        copy = Gguf()
        copy.keys, copy.tensors = dict(self.keys), list(self.tensors)
        copy.keys[name] = (kind, value)
        return copy


def packed_text(text):
    return struct.pack("<Q", len(text)) + text


def packed(kind, value):
    if kind == STRING:
        return packed_text(value)
    if kind == ARRAY:
        return struct.pack("<IQ", value[0], len(value[1])) + b"".join(packed(value[0], v) for v in value[1])
    return struct.pack(NUMBERS[kind], value)


def tensor_bytes(dims, kind):
    n = 1
    for d in dims:
        n *= d
    values, size = BLOCKS[kind]
    return n // values * size


def tiny_model(golden, n_tokens=6):
    """A header of a golden model with its first layers, of each kind one, and a few tokens."""
    model = Gguf()
    arch = golden.keys[b"general.architecture"][1]
    n_vocab = len(golden.keys[b"tokenizer.ggml.tokens"][1][1])
    n_layers = min(golden.keys[arch + b".block_count"][1], 4 if arch in (b"qwen3next", b"qwen35moe") else 2)
    for name, (kind, value) in golden.keys.items():
        if name.startswith(b"tokenizer.ggml.") and kind == ARRAY:
            value = (value[0], value[1][:n_tokens])
        if name.startswith(b"tokenizer.ggml.") and name != b"tokenizer.ggml.tokens":
            continue
        model.keys[name] = (kind, value)
    model.keys[arch + b".block_count"] = (4, n_layers)
    for name, dims, kind in golden.tensors:
        block = re.match(rb"blk\.(\d+)\.", name)
        if block and int(block[1]) >= n_layers:
            continue
        model.tensors.append((name, [n_tokens if d == n_vocab else d for d in dims], kind))
    return model


def tiny_vocabulary(golden, n_tokens):
    """Single bytes and special tokens, and merges of what is there."""
    tokens = golden.keys[b"tokenizer.ggml.tokens"][1][1]
    types = golden.keys.get(b"tokenizer.ggml.token_type", (ARRAY, (5, [1] * len(tokens))))[1][1]
    short = [i for i, text in enumerate(tokens) if len(text.decode(errors="replace")) == 1]
    special = [i for i, kind in enumerate(types) if kind != 1][:12]
    merged, merges = [], []
    for merge in golden.keys.get(b"tokenizer.ggml.merges", (ARRAY, (STRING, [])))[1][1]:
        left, _, right = merge.partition(b" ")
        known = {tokens[i] for i in short + merged}
        if len(merges) < n_tokens // 4 and left in known and right in known and left + right in tokens:
            merges.append(merge)
            merged.append(tokens.index(left + right))
    chosen = sorted(set(short[: n_tokens // 2] + special + merged + list(range(n_tokens // 4))))
    vocabulary = Gguf()
    for name, (kind, value) in golden.keys.items():
        if not name.startswith(b"tokenizer.ggml."):
            continue
        if kind == ARRAY and len(value[1]) == len(tokens):
            value = (value[0], [value[1][i] for i in chosen])
        elif name == b"tokenizer.ggml.merges":
            value = (STRING, merges)
        elif name.endswith(b"_token_id"):
            value = chosen.index(value) if value in chosen else 0
        vocabulary.keys[name] = (kind, value)
    return vocabulary


def small_gguf():
    file = Gguf()
    file.keys = {
        b"general.alignment": (4, 32),
        b"bytes": (ARRAY, (0, [1, 2, 3, 4, 5])),
        b"text": (STRING, b"some text"),
        b"list": (ARRAY, (STRING, [b"a", b"", b"bcd"])),
        b"wide": (ARRAY, (12, [1.0, 2.0])),
        b"deep": (ARRAY, (ARRAY, [(4, [1]), (4, [2, 3])])),
        b"flag": (7, 1),
        b"big": (10, 1 << 63),
        b"low": (11, -1),
        b"split.count": (2, 1),
    }
    file.tensors = [(b"a", [32, 2, 3], 8), (b"b", [4], 0), (b"c", [256, 1, 1, 2], 12)]
    return file


def small_imatrix(golden):
    """Two dense entries and one of experts with their first columns."""
    file, data, n_columns = Gguf(), b"", 8
    file.keys = golden.keys
    names = [name[: -len(b".in_sum2")] for name, _, _ in golden.tensors if name.endswith(b".in_sum2")]
    dims = {name: d for name, d, _ in golden.tensors}
    experts = [name for name in names if dims[name + b".in_sum2"][1:] not in ([], [1])][:1]
    legacy = []
    for name in [n for n in names if n not in experts][:2] + experts:
        width, rows = (dims[name + b".in_sum2"] + [1])[:2]
        sums = golden.content(name + b".in_sum2")
        cut = b"".join(sums[4 * width * row : 4 * (width * row + n_columns)] for row in range(rows))
        counts = golden.content(name + b".counts")
        for suffix, shape, values in ((b".in_sum2", [n_columns, rows], cut), (b".counts", [1, rows], counts)):
            file.tensors.append((name + suffix, shape, 0))
            data += values + bytes(-len(values) % 32)
        legacy.append(struct.pack("<i", len(name)) + name + struct.pack("<ii", 2, n_columns * rows) + cut)
    tail = struct.pack("<i", 2) + struct.pack("<i", 8) + b"text.txt"
    return file.write(data), struct.pack("<i", len(legacy)) + b"".join(legacy) + tail


def compact_base(version, n_layers):
    n_ctx, n_vocab, n_chunks, n_top, n_samples, n_expert, n_used = 4, 8, 2, 4, 2, 4, 2
    first = 1 if version == 2 else n_ctx // 2
    tokens = struct.pack("<8i", *(i % n_vocab for i in range(n_ctx * n_chunks)))
    used = n_used if n_layers else 0
    head = b"STEELKLD" + struct.pack("<9I", version, n_ctx, n_vocab, n_chunks, n_top, n_samples, n_layers, n_expert, used)
    head += b"a" * 64 + b"b" * 64 + hashlib.sha256(tokens).hexdigest().encode()
    if version == 2:
        head += struct.pack("<I", first)
    row = struct.pack("<ff", -1.5, 0.1) + struct.pack("<6i", 1, 2, 3, 4, 5, 6)
    row += struct.pack("<6f", -1.0, -1.5, -2.0, -2.5, -3.0, -3.5) + struct.pack("<2H", 0, 2) * n_layers
    return head + tokens + struct.pack(f"<{n_layers}i", *range(n_layers)) + row * (n_chunks * (n_ctx - 1 - first))


def llama_base():
    n_ctx, n_vocab, n_chunks = 4, 6, 2
    row = struct.pack("<ff", 0.001, -12.0) + struct.pack(f"<{n_vocab}H", *range(0, 6000, 1000))
    return (
        b"_logits_" + struct.pack("<3i", n_ctx, n_vocab, n_chunks) + struct.pack("<8i", *([1, 2, 3, 4] * 2))
        + row * (n_chunks * (n_ctx - 1 - n_ctx // 2))
    )


def small_choice(content):
    """The first two tasks of a multiple-choice file."""
    (n,) = struct.unpack_from("<I", content)
    starts = list(struct.unpack_from(f"<{n}I", content, 4)) + [len(content)]
    parts = [content[starts[i] : starts[i + 1]] for i in range(2)]
    return struct.pack("<III", 2, 12, 12 + len(parts[0])) + b"".join(parts)


def journal():
    hashes = " ".join(hashlib.sha256(word).hexdigest() for word in (b"a", b"b"))
    lines = ["steelyard-journal 1", "source 1234", "plan abc def", "begin", f"tensor 0 {hashes}", f"tensor 1 {hashes}"]
    out, checksum = "", ""
    for line in lines + ["complete"]:
        checksum = hashlib.sha256((checksum + line).encode()).hexdigest()[:16]
        out += f"{checksum} {line}\n"
    return out.encode()


def progress(golden):
    """Of each kind one, in the order of progress_fuzz.cc; golden: the model that it has."""
    width = golden.keys[b"llama.embedding_length"][1]
    evaluation = struct.pack("<QQQ", 100, 2, 1) + struct.pack("<4dq", 1.0, 1.1, 0.1, 0.0, 1) * 2 + bytes(24)
    entry = packed_text(b"blk.0.attn_q.weight") + struct.pack("<qq", 4, 1) + struct.pack("<4dq", 1, 2, 3, 4, 5)
    collection = struct.pack("<3q", 1, 0, 0) + struct.pack("<q2q", 1, 0, 1) + struct.pack("<q", 0)
    collection += struct.pack("<q", 1) + entry
    within = struct.pack("<3q", 1, 1, 1) + struct.pack("<qq", 0, 0) + struct.pack("<q", 1) + entry
    within += bytes(4 * 4 * width)
    n_vectors = [dims[0] for _, dims, _ in golden.tensors if len(dims) == 1]
    tuning = struct.pack("<qqdqq", 3, 6, 0.5, 4, 2) + struct.pack("<qdd", 0, 0.2, 0.0) + struct.pack("<qdd", 2, 0.1, 0.3)
    tuning += struct.pack("<f", 0.0) + b"".join(struct.pack("<f", 0.01) + bytes(4 * 3 * n) for n in n_vectors)
    search = json.dumps({
        "plan": "* = Q4_K", "heard": True, "curvatures": [{"tensor": "a", "by_slice": [1.0]}],
        "in_layers": [{"tensor": "a", "types": [{"type": "Q4_K", "bytes": 144, "loss": 0.1}], "probed": 0.2}],
        "outside": [], "files": [{"plan": "* = Q4_K", "header_bytes": 10, "divergence": [0.1], "same_top": [1.0]}],
    }).encode()
    text = struct.pack("<Q", 1) + struct.pack("<Q", 1) + struct.pack("<4i", 1, 2, 3, 4) + struct.pack("<4q", 0, 1, 0, 0)
    frame = b"STEELPRG" + IDENTITY + evaluation
    framed = frame + hashlib.sha256(frame).hexdigest().encode()
    kinds = {"framed": (0, framed), "evaluation": (1, evaluation), "collection": (2, collection), "window": (2, within),
             "tuning": (3, tuning), "search": (4, search), "text": (5, text)}
    return {name: bytes([kind]) + state for name, (kind, state) in kinds.items()}


def saved_text(golden):
    """Two chunks, one of them of several texts."""
    vocabulary = hashlib.sha256(b"".join(t + b"\n" for t in golden.keys[b"tokenizer.ggml.tokens"][1][1])).hexdigest()
    lines = [{"steelyard_text": 1, "vocabulary": vocabulary, "n_ctx": 6, "n_chunks": 2, "write": {"seed": 1, "temp": 1.5}}]
    for starts in ([0], [0, 2, 5]):
        lines.append({"ids": [1, 65, 200, 268, 271, 10], "starts": starts, "text": ["a"] * len(starts)})
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def tokenizer_folders():
    """Inputs of tokenizer_json: kind, the tokenizer, and behind bytes 0xFE tokenizer_config.json and config.json."""
    def document(**changes):
        model = {"type": "BPE", "unk_token": None, "byte_fallback": False, "ignore_merges": False,
                 "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4}, "merges": ["a b", "\u0120 a"]}
        added = [{"id": 6, "content": "<s>", "special": True}, {"id": 7, "content": "<x>", "special": False}]
        whole = {"added_tokens": added, "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"},
                 "post_processor": {"type": "ByteLevel"}, "model": model | changes.pop("model", {})}
        return json.dumps(whole | changes, ensure_ascii=False).encode()

    token, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [token, text],
                "pair": [token, text, token, {"Sequence": {"id": "B", "type_id": 1}}]}
    split = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": False}
    steps = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}]}
    config = {"bos_token": "<s>", "eos_token": {"content": "<x>"}, "add_bos_token": True, "chat_template": "{{ messages }}",
              "added_tokens_decoder": {"1": {"content": "b", "special": True}, "3": {"content": "\u2581c"}}}
    sizes = {"vocab_size": 16, "eos_token_id": [6, 7], "text_config": {"bos_token_id": 6}}
    beside = b"\xfe" + json.dumps(config, ensure_ascii=False).encode() + b"\xfe" + json.dumps(sizes).encode()
    characters = {"byte_fallback": True, "unk_token": "<unk>", "merges": [["a", "b"], ["\u2581", "a"]],
                  "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "\u2581": 4, "\u2581a": 5} | {f"<0x{i:02X}>": 8 + i for i in range(256)}}
    prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                   {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}

    def varint(value):
        return bytes([value]) if value < 0x80 else bytes([0x80 | value & 0x7F]) + varint(value >> 7)

    def field(number, value):
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        return varint(number << 3 | 2) + varint(len(value)) + value

    def piece(word, score, kind):
        return field(1, field(1, word.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))

    pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + b"".join(piece(f"<0x{i:02X}>", 0, 6) for i in range(256))
    pieces += piece("a", -1, 1) + piece("b", -2, 1) + piece("ab", -3, 1) + piece("\u2581\u2581", -4, 4) + piece("", 0, 5)
    model = pieces + field(2, field(3, 2) + field(35, 1)) + field(3, field(1, b"identity") + field(3, 0))
    return {"bytes": b"\0" + document(), "beside": b"\0" + document(post_processor=template, pre_tokenizer=steps) + beside,
            "named": b"\2" + document(pre_tokenizer=split), "characters": b"\0" + document(model=characters, normalizer=prepend),
            "gemma4": b"\0" + document(model=characters, normalizer=None) + b"\xfe{}\xfe" + json.dumps({"model_type": "gemma4"}).encode(),
            "unigram": b"\0" + document(model={"type": "Unigram", "vocab": [["a", -1.5]]}),
            "sentencepiece": b"\1" + model, "sentencepiece-beside": b"\1" + model + beside}


def main():
    source, out = (pathlib.Path(argument) for argument in sys.argv[1:3])
    golden = source / "tests" / "golden"

    def put(target, name, content):
        (out / target).mkdir(parents=True, exist_ok=True)
        (out / target / name).write_bytes(content)

    put("gguf", "kinds", small_gguf().write(bytes(384 + 32 + 288)))
    put("gguf", "version-2", small_gguf().write(bytes(384 + 32 + 288), version=2))
    models = {path.parent.name: Gguf(path) for path in sorted(golden.glob("models/*/model.gguf"))}
    for name, model in models.items():
        put("model", name, tiny_model(model).write())
    put("gguf", "model", tiny_model(models["llama"]).write())

    texts = ["Hello world, it's 123456! \n\n  x\tйцу 你好 🙂".encode(), b"<s><|im_end|> \xff\xfe a</s>", b"  \n "]
    for path in sorted(golden.glob("tokenizers/*.gguf")):
        vocabulary = tiny_vocabulary(Gguf(path), 100)
        put("tokenizer", path.stem, vocabulary.write() + texts[0])
        for other in sorted(golden.glob(f"tokenizers/{path.stem}__pre_*.json")):
            pre = other.stem.partition("__pre_")[2]
            changed = vocabulary.with_key(b"tokenizer.ggml.pre", STRING, pre.encode())
            put("tokenizer", other.stem, changed.write() + texts[len(pre) % len(texts)])
    for name, content in tokenizer_folders().items():
        put("tokenizer_json", name, content)
    put("gguf", "vocabulary", tiny_vocabulary(Gguf(golden / "tokenizers" / "spm-words.gguf"), 40).write())

    for path in sorted(golden.glob("imatrix/*/imatrix.gguf")):
        ours, legacy = small_imatrix(Gguf(path))
        put("imatrix", path.parent.name + ".gguf", ours)
        put("imatrix", path.parent.name + ".dat", legacy)
        put("gguf", "imatrix-" + path.parent.name, ours)

    for path in sorted(source.glob("plans/**/*.plan")):
        put("plan", path.stem, path.read_bytes()[-3000:].partition(b"\n")[2])
    put("plan", "list", b"blk.1.attn=Q4_K ffn_(gate|up)=IQ4_NL # comment\nattn_v=keep\n")
    put("plan", "conditions", b"* = Q4_K\nattn_v = Q6_K if imatrix and gqa >= 4\nffn_down ?= Q8_0 if index in {:1/8}\n")

    for version, n_layers in ((1, 0), (1, 2), (2, 0), (2, 1)):
        put("base", f"compact-{version}-{n_layers}", compact_base(version, n_layers))
    put("base", "llama", llama_base())

    hellaswag = (golden / "choice" / "hellaswag.txt").read_bytes().split(b"\n")[:12]
    put("tasks", "hellaswag", b"\0\0" + b"\n".join(hellaswag) + b"\n")
    put("tasks", "winogrande", b"\1\0" + b"\n".join((golden / "choice" / "winogrande.csv").read_bytes().split(b"\n")[:4]))
    put("tasks", "multiple-choice", b"\2\0" + small_choice((golden / "choice" / "multiple-choice.bin").read_bytes()))
    put("tasks", "one-of-two", b"\2\1" + small_choice((golden / "choice" / "multiple-choice.bin").read_bytes()))

    put("journal", "complete", journal())
    for name, content in progress(models["llama"]).items():
        put("progress", name, content)
    answers = [
        "plain 0<think>so</think>\n\nyes", "gpt-oss 2<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.f"
        "<|channel|>commentary json<|message|>{\"i\": 1}<|call|>", "gemma4 1a<channel|>b<|tool_call>call:f{s:<|\"|>x<|\"|>,o:{a:[1]}}<tool_call|>",
        "deepseek 0<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "kimi 0<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "minimax 1a</think><minimax:tool_call><invoke name=\"f\"><parameter name=\"i\">2</parameter></invoke></minimax:tool_call>",
        "glm 0<tool_call>f\n<arg_key>i</arg_key>\n<arg_value>2</arg_value></tool_call>",
        "qwen3-coder 0x\n<tool_call><function=f>\n<parameter=s>\n1\n</parameter></function></tool_call>",
        "lfm2 0<|tool_call_start|>[f(s='x', o={'a': None}), f(1)]<|tool_call_end|>",
        "mistral 0[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}]",
        "hermes 0<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", "llama3 0{\"name\": \"f\", \"parameters\": {}}"]
    for i, answer in enumerate(answers):  # in the order of the formats
        name, _, rest = answer.partition(" ")
        put("answer", name, bytes([i, int(rest[0]), 4]) + rest[1:].encode())
    for i, header in enumerate([
            {"a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}},
            {"__metadata__": {"format": "pt"}, "a.weight": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
             "a.weight_scale_inv": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]}},
            {"b": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}, "e": {"dtype": "U8", "shape": [0, 3], "data_offsets": [8, 8]}}]):
        put("safetensors", str(i), bytes([8]) + json.dumps(header).encode())
    requests = {
        "completion": b'\0{"prompt":"ab","max_tokens":4,"n":2,"echo":true,"logprobs":3,"stop":["x"],"seed":1,"temperature":0.5}',
        "prompts": b'\0{"prompt":[[1,2],"a"],"top_p":0.9,"stream":true,"stream_options":{"include_usage":true}}',
        "chat": b'\1{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"tools":[{"type":"function"}],'
                b'"tool_choice":"none","logprobs":true,"top_logprobs":2,"chat_template_kwargs":{"a":false}}',
        "limits": b'\1{"messages":[{"role":"user"}],"max_completion_tokens":1,"response_format":{"type":"text"}}',
        "tokenize": b'\2{"content":"abc<s>","add_special":true,"parse_special":false,"with_pieces":true}'}
    for name, request in requests.items():
        put("request", name, request)
    put("saved_text", "two", saved_text(models["llama"]))


main()
