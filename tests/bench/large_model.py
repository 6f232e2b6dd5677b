#!/usr/bin/env python3
"""Writes a model to measure memory and time on: random BF16 weights, many experts, the tokenizer of another model.

    large_model.py TOKENIZER_MODEL.gguf OUT.gguf [LAYERS] [SHAPE]

Needs numpy and gguf. SHAPE is one of
    deep     64 experts of qwen3moe, 12 layers of 100 MiB unless LAYERS says otherwise: for how much memory a sweep takes
             and how often it reads the file (docs/imatrix.md)
    experts  160 experts of glm4moe, of which a token takes 8 and a shared one, in 3 layers of 185 MiB, the first dense:
             GLM-4.7 at less than a sixth of its widths, for what a calibration costs (docs/results/calibration-cost.md)
The models know nothing: their perplexity is about the size of the vocabulary.
"""
import sys
from dataclasses import dataclass

import gguf
import numpy as np


@dataclass
class Shape:
    arch: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    experts: int
    used: int
    expert_ff: int
    ff: int = 0  # of dense layers, which are the first ones
    dense_layers: int = 0
    shared: int = 0  # experts


SHAPES = {
    "deep": Shape("qwen3moe", 12, 512, 8, 8, 64, 64, 2, 512),
    "experts": Shape("glm4moe", 3, 768, 14, 2, 128, 160, 8, 256, ff=1792, dense_layers=1, shared=1),
}


class Model:
    """Infos of all tensors first, then their values: no more than one is in memory."""

    def __init__(self, shape, path):
        self.shape = shape
        self.writer = gguf.GGUFWriter(path, shape.arch)
        self.values = []  # functions, in the order of infos
        self.random = np.random.default_rng(1)

    def copy_tokenizer(self, source):
        for name, field in source.fields.items():
            if not name.startswith("tokenizer."):
                continue
            if field.types[0] == gguf.GGUFValueType.ARRAY:
                self.writer.add_array(name, field.contents())
            else:
                self.writer.add_key_value(name, field.contents(), field.types[0])
        return len(source.fields["tokenizer.ggml.tokens"].contents())

    def add_hyperparameters(self):
        shape, writer = self.shape, self.writer
        writer.add_block_count(shape.layers)
        writer.add_context_length(4096)
        writer.add_embedding_length(shape.width)
        writer.add_feed_forward_length(shape.ff or shape.expert_ff)
        writer.add_expert_feed_forward_length(shape.expert_ff)
        writer.add_head_count(shape.heads)
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head)
        writer.add_value_length(shape.head)
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.used)
        writer.add_layer_norm_rms_eps(1e-6)
        if shape.arch == "glm4moe":
            writer.add_leading_dense_block_count(shape.dense_layers)
            writer.add_expert_shared_count(shape.shared)
            writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
            writer.add_expert_weights_norm(True)
            writer.add_expert_weights_scale(2.5)
            writer.add_rope_dimension_count(shape.head // 2)

    def normal(self, *shape):
        """Values that keep the magnitude of what they are multiplied with: a variance of 1 / row length."""
        return self.random.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)

    def bf16(self, name, *shape):
        def values():
            return (self.normal(*shape).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)

        n_bytes = 2 * int(np.prod(shape))
        self.writer.add_tensor_info(
            name + ".weight", (*shape[:-1], 2 * shape[-1]), np.dtype(np.uint8), n_bytes, gguf.GGMLQuantizationType.BF16
        )
        self.values.append(values)

    def f32(self, name, shape, value):
        self.writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
        self.values.append(lambda: value(*shape).astype(np.float32))

    def ones(self, name, n):
        self.f32(name + ".weight", (n,), lambda n: np.ones(n))

    def add_layer(self, layer):
        shape, prefix = self.shape, f"blk.{layer}."
        is_glm = shape.arch == "glm4moe"
        self.ones(prefix + "attn_norm", shape.width)
        self.ones(prefix + ("post_attention_norm" if is_glm else "ffn_norm"), shape.width)
        for name, heads in (("attn_q", shape.heads), ("attn_k", shape.kv_heads), ("attn_v", shape.kv_heads)):
            self.bf16(prefix + name, heads * shape.head, shape.width)
        self.bf16(prefix + "attn_output", shape.width, shape.heads * shape.head)
        for name in ("attn_q_norm", "attn_k_norm"):
            self.ones(prefix + name, shape.head)
        if layer < shape.dense_layers:
            self.add_ffn(prefix, "", shape.ff)
            return
        self.f32(prefix + "ffn_gate_inp.weight", (shape.experts, shape.width), self.normal)
        if is_glm:
            self.f32(prefix + "exp_probs_b.bias", (shape.experts,), lambda n: np.zeros(n))
        self.add_ffn(prefix, "_exps", shape.expert_ff, shape.experts)
        if shape.shared:
            self.add_ffn(prefix, "_shexp", shape.shared * shape.expert_ff)

    def add_ffn(self, prefix, suffix, ff, *experts):
        self.bf16(f"{prefix}ffn_gate{suffix}", *experts, ff, self.shape.width)
        self.bf16(f"{prefix}ffn_up{suffix}", *experts, ff, self.shape.width)
        self.bf16(f"{prefix}ffn_down{suffix}", *experts, self.shape.width, ff)

    def write(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_ti_data_to_file()
        for values in self.values:
            self.writer.write_tensor_data(values())
        self.writer.close()


def main(tokenizer, path, layers=None, name="deep"):
    shape = SHAPES[name]
    shape.layers = int(layers or shape.layers)
    model = Model(shape, path)
    n_vocab = model.copy_tokenizer(gguf.GGUFReader(tokenizer))
    model.add_hyperparameters()
    model.bf16("token_embd", n_vocab, shape.width)
    model.bf16("output", n_vocab, shape.width)
    model.ones("output_norm", shape.width)
    for layer in range(shape.layers):
        model.add_layer(layer)
    model.write()


main(*sys.argv[1:])
