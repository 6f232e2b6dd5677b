#!/usr/bin/env python3
"""Records llama.cpp's ids of boundary-bpe.gguf under other pre-tokenizers, for the strings of the records there are.

    python3 tests/golden/tokenizers/record_pre.py NAME...     # needs the PyPI packages gguf and llama-cpp-python

It writes boundary-bpe__pre_NAME.json; the name goes into the list in tests/tokenizer/golden_test.cc.
"""
import ctypes
import json
import sys

import llama_cpp

from record_spm import HERE, Peer


def load(name):
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    override = (llama_cpp.llama_model_kv_override * 2)()
    override[0].key = b"tokenizer.ggml.pre"
    override[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
    ctypes.memmove(ctypes.addressof(override[0].value), name.encode() + b"\0", len(name) + 1)
    parameters.kv_overrides = override
    return Peer(HERE / "boundary-bpe.gguf", parameters)


def main(names):
    model = json.loads((HERE / "boundary-bpe__pre_default.json").read_text())
    for name in names:
        peer = load(name)
        cases = []
        for case in model["cases"]:
            text = bytes.fromhex(case["hex"])
            cases.append({**case, "ids": peer.ids(text, False, False), "ids_special": peer.ids(text, True, True),
                          "ids_parse_special_only": peer.ids(text, False, True)})
        head = json.dumps({**peer.flags(), "vocab_file": model["vocab_file"], "pre": name})[:-1]
        lines = ",\n".join(json.dumps(case) for case in cases)
        (HERE / f"boundary-bpe__pre_{name}.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main(sys.argv[1:])
