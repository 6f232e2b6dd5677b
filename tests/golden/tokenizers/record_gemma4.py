#!/usr/bin/env python3
"""Makes a vocabulary like Gemma 4's and records llama.cpp's ids for it.

    python3 tests/golden/tokenizers/record_gemma4.py     # needs the PyPI packages gguf and llama-cpp-python

gemma4-bpe.gguf has merges learned on tests/text, in words that begin with U+2581 and once across two words, runs of
spaces and of line ends, tokens for bytes, and the marked tokens that llama.cpp knows by name. One run of line ends has a
token that no merges lead to. The same vocabulary is recorded under the pre-tokenizer sarvam-moe, which reads it the same
way but for such runs and BOS. The strings are those of the records of the SentencePiece vocabularies, the first hundred,
and some more.
"""
import collections
import json

import gguf
import llama_cpp

from record_spm import BYTE, CONTROL, HERE, NORMAL, ROOT, SPACE, USER_DEFINED, Peer, texts

NAME = "gemma4-bpe.gguf"


def learn(words, n):
    """The first n merges of byte pair encoding over the characters of words."""
    split = {word: list(word) for word in words}
    merges = []
    for _ in range(n):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in split.items():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1
    return merges


def vocabulary():
    text = "".join(path.read_text() for path in sorted((ROOT / "tests/text").glob("*.txt")))[:60000]
    words = collections.Counter(SPACE + word for word in text.split())
    merges = learn(words, 500)
    merges += [(SPACE, SPACE), (SPACE * 2, SPACE * 2), (SPACE * 4, SPACE * 4)]
    merges += [("\n", "\n"), ("\n\n", "\n"), (SPACE + "of", SPACE + "the")]
    tokens = [("<pad>", CONTROL), ("<eos>", NORMAL), ("<bos>", CONTROL), ("<unk>", CONTROL), ("<mask>", CONTROL)]
    tokens += [("<|tool_response>", USER_DEFINED), ("<turn|>", NORMAL), ("<|turn>", CONTROL), ("</s>", NORMAL),
               ("<|channel>", USER_DEFINED), ("<unused0>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    tokens += [("\n" * 5, NORMAL)]
    characters = sorted(set(text.replace(" ", SPACE)) | set("\n\t0123456789,.;:!?()'\"éあ"))
    known = {token for token, _ in tokens}
    for token in characters + ["".join(merge) for merge in merges]:
        if token not in known:
            known.add(token)
            tokens.append((token, NORMAL))
    return tokens, merges


def write():
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(HERE / NAME, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()  # there are none: this pads the header
    writer.close()


def record(parameters, head, name):
    peer = Peer(HERE / NAME, parameters)
    more = [b"\n\n\n\n\n", b"a\n\n\n\n\n\nb", b" of the of  the\nof the", b"<turn|>\n<|turn>x</s>", b"<|tool_response> <bos>"]
    cases = []
    for text in texts()[:100] + more:
        ids = peer.ids(text, False, False)
        special = peer.ids(text, True, True)
        cases.append({"hex": text.hex(), "ids": ids, "ids_special": special,
                      "ids_parse_special_only": peer.ids(text, False, True),
                      "decoded": peer.bytes_of(ids).hex(), "decoded_special": peer.bytes_of(special).hex()})
    lines = ",\n".join(json.dumps(case) for case in cases)
    first = json.dumps({"vocab_file": NAME, **head, **peer.flags()})[:-1]
    (HERE / name).write_text(f'{first}, "cases": [\n{lines}\n]}}\n')


def overrides(values):
    """Model parameters that read other values for keys of text."""
    import ctypes
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    override = (llama_cpp.llama_model_kv_override * (len(values) + 1))()
    for entry, (key, value) in zip(override, values.items()):
        entry.key = key.encode()
        entry.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
        ctypes.memmove(ctypes.addressof(entry.value), value.encode() + b"\0", len(value) + 1)
    parameters.kv_overrides = override
    return parameters


if __name__ == "__main__":
    write()
    record(None, {"pre": "gemma4"}, "gemma4-bpe.json")
    keys = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "sarvam-moe"}
    record(overrides(keys), {"model": "gpt2", "pre": "sarvam-moe"}, "gemma4-bpe__pre_sarvam-moe.json")
