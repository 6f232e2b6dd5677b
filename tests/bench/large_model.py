#!/usr/bin/env python3
"""Writes a model that is larger than memory: random BF16 weights, many experts, the tokenizer of another model.

    large_model.py TOKENIZER_MODEL.gguf OUT.gguf [LAYERS]

Needs numpy and gguf. Each layer has about 100 MiB. For measuring how much memory a sweep takes and how often it reads
the file (docs/imatrix.md); the model knows nothing, and its perplexity is about the size of its vocabulary.
"""
import sys

import gguf
import numpy as np

WIDTH, FF, EXPERTS, USED, HEADS, HEAD = 512, 512, 64, 2, 8, 64

source = gguf.GGUFReader(sys.argv[1])
n_layers = int(sys.argv[3]) if len(sys.argv) > 3 else 12
writer = gguf.GGUFWriter(sys.argv[2], "qwen3moe", use_temp_file=False)
for name, field in source.fields.items():
    if not name.startswith("tokenizer."):
        continue
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        writer.add_array(name, field.contents())
    else:
        writer.add_key_value(name, field.contents(), field.types[0])
n_vocab = len(source.fields["tokenizer.ggml.tokens"].contents())
writer.add_block_count(n_layers)
writer.add_context_length(4096)
writer.add_embedding_length(WIDTH)
writer.add_feed_forward_length(FF)
writer.add_expert_feed_forward_length(FF)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_key_length(HEAD)
writer.add_value_length(HEAD)
writer.add_expert_count(EXPERTS)
writer.add_expert_used_count(USED)
writer.add_layer_norm_rms_eps(1e-6)

random = np.random.default_rng(1)


def bf16(*shape):
    values = (random.standard_normal(shape, dtype=np.float32) * (shape[-1] ** -0.5)).view(np.uint32)
    return (values >> 16).astype(np.uint16)


def add(name, values):
    writer.add_tensor(name, values.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)


ones = np.ones(WIDTH, dtype=np.float32)
matrix, experts = bf16(HEADS * HEAD, WIDTH), bf16(EXPERTS, FF, WIDTH)
add("token_embd.weight", bf16(n_vocab, WIDTH))
add("output.weight", bf16(n_vocab, WIDTH))
writer.add_tensor("output_norm.weight", ones)
for layer in range(n_layers):
    prefix = f"blk.{layer}."
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{prefix}{name}.weight", ones)
    for name in ("attn_q_norm", "attn_k_norm"):
        writer.add_tensor(f"{prefix}{name}.weight", np.ones(HEAD, dtype=np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"{prefix}{name}.weight", np.roll(matrix, 7 * layer + len(name), axis=1))
    writer.add_tensor(f"{prefix}ffn_gate_inp.weight", random.standard_normal((EXPERTS, WIDTH), dtype=np.float32))
    for shift, name in enumerate(("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")):
        add(f"{prefix}{name}.weight", np.roll(experts, 11 * layer + shift, axis=2))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
