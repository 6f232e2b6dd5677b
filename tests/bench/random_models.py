#!/usr/bin/env python3
"""Writes a model with random BF16 weights for measurements of speed: dense (llama), or with experts (qwen3moe).

    random_models.py {dense|moe} TOKENIZER_MODEL.gguf OUT.gguf

Needs numpy and gguf. A token takes 123 million weights in either, more than most caches hold, and rows of all matrices
divide into blocks of 256. The tokenizer is another model's, filled up with unused tokens to a usual size.
"""
import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, VOCABULARY = 1024, 6, 16, 4, 64, 49152
FF, EXPERTS, USED, EXPERT_FF = 3072, 24, 6, 512  # a token takes as many weights from experts as from a dense FFN

random = np.random.default_rng(1)


def normal(*shape):
    """Values that keep the magnitude of what they are multiplied with: a variance of 1 / row length."""
    return random.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)


class Model:
    def __init__(self, arch, path):
        self.writer = gguf.GGUFWriter(path, arch)

    def matrix(self, name, *shape):
        values = (normal(*shape).view(np.uint32) >> 16).astype(np.uint16)
        self.writer.add_tensor(name + ".weight", values.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)

    def norm(self, name, n):
        self.writer.add_tensor(name + ".weight", np.ones(n, dtype=np.float32))

    def copy_tokenizer(self, source):
        for name, field in source.fields.items():
            if not name.startswith("tokenizer.ggml."):
                continue
            value = field.contents()
            if name == "tokenizer.ggml.tokens":
                value += [f"<|unused_{i}|>" for i in range(len(value), VOCABULARY)]
            if name == "tokenizer.ggml.token_type":
                value += [int(gguf.TokenType.UNUSED)] * (VOCABULARY - len(value))
            if isinstance(value, list):
                self.writer.add_array(name, value)
            else:
                self.writer.add_key_value(name, value, field.types[0])

    def add_attention(self, prefix, head_norms):
        self.norm(prefix + "attn_norm", WIDTH)
        self.matrix(prefix + "attn_q", HEADS * HEAD, WIDTH)
        self.matrix(prefix + "attn_k", KV_HEADS * HEAD, WIDTH)
        self.matrix(prefix + "attn_v", KV_HEADS * HEAD, WIDTH)
        self.matrix(prefix + "attn_output", WIDTH, HEADS * HEAD)
        if head_norms:
            self.norm(prefix + "attn_q_norm", HEAD)
            self.norm(prefix + "attn_k_norm", HEAD)

    def add_ffn(self, prefix):
        self.matrix(prefix + "ffn_gate", FF, WIDTH)
        self.matrix(prefix + "ffn_up", FF, WIDTH)
        self.matrix(prefix + "ffn_down", WIDTH, FF)

    def add_experts(self, prefix):
        self.writer.add_tensor(prefix + "ffn_gate_inp.weight", normal(EXPERTS, WIDTH))
        self.matrix(prefix + "ffn_gate_exps", EXPERTS, EXPERT_FF, WIDTH)
        self.matrix(prefix + "ffn_up_exps", EXPERTS, EXPERT_FF, WIDTH)
        self.matrix(prefix + "ffn_down_exps", EXPERTS, WIDTH, EXPERT_FF)


def main(kind, tokenizer_model, out):
    moe = kind == "moe"
    model = Model("qwen3moe" if moe else "llama", out)
    model.copy_tokenizer(gguf.GGUFReader(tokenizer_model))
    writer = model.writer
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    if moe:
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(USED)
        writer.add_expert_feed_forward_length(EXPERT_FF)

    model.matrix("token_embd", VOCABULARY, WIDTH)
    model.norm("output_norm", WIDTH)
    model.matrix("output", VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        model.add_attention(prefix, head_norms=moe)
        model.norm(prefix + "ffn_norm", WIDTH)
        (model.add_experts if moe else model.add_ffn)(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("dense", "moe"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
