#!/usr/bin/env python3
"""Makes the SentencePiece vocabularies of this folder and records llama.cpp's ids for them.

    python3 tests/golden/tokenizers/record_spm.py     # needs the PyPI packages gguf and llama-cpp-python

Vocabularies, learned on tests/text by counting substrings of words:
  spm-words.gguf   a space goes before text; no token goes on into a second word
  spm-across.gguf  no such space, like Gemma; tokens like "_of_the", runs of spaces, many equal scores
  spm-phi3.gguf    the first, small, with a name for which llama.cpp drops white space behind marked tokens
Scores fall with the count, so that what merges first depends on them. The strings are those of the other records of
this folder, and some more.
"""
import collections
import ctypes
import json
import pathlib

import gguf
import llama_cpp
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def pieces_of_words(text, n, across):
    """The n substrings that save most characters, and their counts."""
    counts = collections.Counter()
    words = [SPACE + word for word in text.split()]
    if across:
        words += [words[i] + words[i + 1] for i in range(0, len(words) - 1)]
    for word, count in collections.Counter(words).items():
        for begin in range(len(word)):
            for end in range(begin + 2, min(len(word), begin + 12) + 1):
                counts[word[begin:end]] += count
    # The name breaks ties, so that the files come out the same each time.
    best = sorted(counts.items(), key=lambda item: (-item[1] * (len(item[0]) - 1), item[0]))
    return best[:n]


def vocabulary(across, n):
    text = "".join(path.read_text() for path in sorted((ROOT / "tests/text").glob("*.txt")))[:60000]
    tokens = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    tokens += [(f"<0x{b:02X}>", 0.0, BYTE) for b in range(256)]
    if across:
        tokens += [(SPACE * n, -float(n), NORMAL) for n in range(2, 9)]
    pieces = pieces_of_words(text, n, across)
    for i, (piece, count) in enumerate(pieces):
        tokens.append((piece, -float(i // 5 if across else i), NORMAL))
    characters = collections.Counter(text.replace(" ", SPACE))
    characters.update("0123456789,.;:!?()'\"éあ中🙂")
    present = {token for token, _, _ in tokens}
    tokens += [(c, -1000.0 - i, NORMAL) for i, (c, _) in enumerate(sorted(characters.items(), key=lambda x: (-x[1], x[0])))
               if c not in present and c not in "\n\t"]
    tokens += [("<|user|>", 0.0, CONTROL), ("<|im_end|>", 0.0, NORMAL), ("<mark>", 0.0, USER_DEFINED),
               ("<mark> <mark>", 0.0, USER_DEFINED), ("\n\n", -5.0, USER_DEFINED), ("<pad>", 0.0, UNUSED)]
    return tokens


def write(name, across=False, model_name=None):
    tokens = vocabulary(across, 150 if model_name else 900)
    writer = gguf.GGUFWriter(HERE / name, "llama")
    if model_name:
        writer.add_name(model_name)
        tokens.append(("<|endoftext|>", 0.0, CONTROL))
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    if across:
        writer.add_add_space_prefix(False)
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(1)
        writer.add_add_bos_token(False)
        writer.add_add_eos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()  # there are none: this pads the header
    writer.close()


class Peer:
    """llama.cpp's tokenizer of one file."""

    def __init__(self, path, parameters=None):
        if parameters is None:
            parameters = llama_cpp.llama_model_default_params()
            parameters.vocab_only = True
        self.model = llama_cpp.llama_load_model_from_file(str(path).encode(), parameters)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def ids(self, text, special, parse):
        room = len(text) * 4 + 8
        buffer = (llama_cpp.llama_token * room)()
        n = llama_cpp.llama_tokenize(self.vocab, text, len(text), buffer, room, special, parse)
        assert n >= 0
        return list(buffer[:n])

    def flags(self):
        return {"n_vocab": llama_cpp.llama_vocab_n_tokens(self.vocab), "bos": llama_cpp.llama_vocab_bos(self.vocab),
                "eos": llama_cpp.llama_vocab_eos(self.vocab),
                "add_bos": bool(llama_cpp.llama_vocab_get_add_bos(self.vocab)),
                "add_eos": bool(llama_cpp.llama_vocab_get_add_eos(self.vocab))}

    def bytes_of(self, ids):
        result = b""
        for token in ids:
            buffer = ctypes.create_string_buffer(1024)
            n = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, 1024, 0, True)
            assert n >= 0
            result += buffer.raw[:n]
        return result


def texts():
    cases = [bytes.fromhex(case["hex"]) for case in json.loads((HERE / "boundary-bpe__pre_default.json").read_text())["cases"]]
    sample = (ROOT / "tests/text").glob("*.txt")
    words = "".join(path.read_text() for path in sorted(sample)).encode()
    rng = np.random.default_rng(5)
    parts = [b" ", b"  ", b"\n", b"\n\n", "\u2581".encode(), b"<mark>", b"<|user|>", b"<s>", b"</s>", b"<unk>", b"<0x41>", b"<pad>",
             b"<mark> <mark>", "é".encode(), "中".encode(), "🙂".encode(), b"of the ", b" of", b"\xe2", b"\xe2\x96", b"\x80", b"\xf0\x9f",
             b"\0", b"\t", b"a", b"e", b"the", b"ing ", b"1", b".", b"<|im_end|>"]
    for _ in range(160):
        case = b""
        for _ in range(int(rng.integers(1, 12))):
            if rng.random() < 0.3:
                at = int(rng.integers(0, len(words) - 40))
                case += words[at:at + int(rng.integers(1, 40))]
            else:
                case += parts[int(rng.integers(0, len(parts)))]
        cases.append(case)
    return cases


def record(name, strings):
    peer = Peer(HERE / name)
    cases = []
    for text in strings:
        ids = peer.ids(text, False, False)
        special = peer.ids(text, True, True)
        cases.append({"hex": text.hex(), "ids": ids, "ids_special": special,
                      "ids_parse_special_only": peer.ids(text, False, True),
                      "decoded": peer.bytes_of(ids).hex(), "decoded_special": peer.bytes_of(special).hex()})
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"vocab_file": name, "pre": "default", **peer.flags()})[:-1]
    (HERE / (pathlib.Path(name).stem + ".json")).write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    write("spm-words.gguf")
    record("spm-words.gguf", texts())
    write("spm-across.gguf", across=True)
    record("spm-across.gguf", texts())
    write("spm-phi3.gguf", model_name="Tiny Phi-3")
    behind = [mark + space + b"the end" + mark + space for mark in (b"<|user|>", b"<|im_end|>", b"<mark>", b"</s>", b"<s>", b"<unk>",
              b"<|endoftext|>") for space in (b" ", b"\n", b"\t \r\n", b"\xc2\xa0", b"")]
    record("spm-phi3.gguf", texts()[95:135] + behind)
