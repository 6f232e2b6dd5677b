#!/usr/bin/env python3
"""Records the types that llama-quantize picks for the tensors of a model, for all mixes, as tests/plan/models.h reads them.

    python3 tests/golden/plan/record.py LLAMA_QUANTIZE NAME...         # needs the PyPI package gguf

A model is a table below: metadata that the loader of llama.cpp asks for, and its tensors. They become a file without
data in a temporary folder. `NAME=FILE` takes the metadata and tensors of a GGUF file instead; its header is enough.
"""
import collections
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import gguf

HERE = pathlib.Path(__file__).resolve().parent
MIXES = ("Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS "
         "IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4_MOE F16 BF16").split()
BYTES = {"F32": 4, "BF16": 2, "I32": 4}
TYPES = {name: gguf.GGMLQuantizationType[name] for name in BYTES}


class Tensors(list):
    """Names and shapes, in the types that a conversion to BF16 gives."""

    F32 = ("ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "ssm_conv1d.weight", "indexer.proj.weight", "hc_attn_fn.weight",
           "hc_ffn_fn.weight", "output_hc_fn.weight", "compressor_ape.weight")

    def add(self, prefix, **shapes):
        for name, shape in shapes.items():
            name = prefix + name.replace("__", ".")
            if not name.endswith((".bias", ".scale", "ssm_a")):
                name += ".weight"
            keep = len(shape) < 2 or name.endswith(self.F32) or name.endswith("_norm.weight") or not name.endswith("weight")
            self.append((name, shape, "I32" if "tid2eid" in name else "F32" if keep else "BF16"))


def qwen35moe(t):
    """Qwen3.5-35B-A3B with its block for multi-token prediction."""
    D, V, H, K, hd, E, F = 2048, 248320, 16, 2, 256, 256, 512
    d, Hk, Hv = 128, 16, 32
    t.add("", token_embd=(D, V), output_norm=(D,), output=(D, V))
    for i in range(41):
        p = f"blk.{i}."
        t.add(p, attn_norm=(D,), post_attention_norm=(D,))
        if i == 40 or i % 4 == 3:
            t.add(p, attn_q=(D, 2 * H * hd), attn_k=(D, K * hd), attn_v=(D, K * hd), attn_output=(H * hd, D), attn_q_norm=(hd,),
                  attn_k_norm=(hd,))
        else:
            width = 2 * Hk * d + Hv * d
            t.add(p, attn_qkv=(D, width), attn_gate=(D, Hv * d), ssm_conv1d=(4, width), ssm_dt__bias=(Hv,), ssm_a=(Hv,),
                  ssm_beta=(D, Hv), ssm_alpha=(D, Hv), ssm_norm=(d,), ssm_out=(Hv * d, D))
        t.add(p, ffn_gate_inp=(D, E), ffn_gate_exps=(D, F, E), ffn_up_exps=(D, F, E), ffn_down_exps=(F, D, E), ffn_gate_inp_shexp=(D,),
              ffn_gate_shexp=(D, F), ffn_up_shexp=(D, F), ffn_down_shexp=(F, D))
    t.add("blk.40.nextn.", eh_proj=(2 * D, D), enorm=(D,), hnorm=(D,), shared_head_norm=(D,))
    return "qwen35moe", {
        "block_count": 41, "context_length": 262144, "embedding_length": D, "attention.head_count": H,
        "attention.head_count_kv": K, "attention.key_length": hd, "attention.value_length": hd,
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e7, "rope.dimension_count": 64,
        "rope.dimension_sections": [11, 11, 10, 0], "expert_count": E, "expert_used_count": 8, "expert_feed_forward_length": F,
        "expert_shared_feed_forward_length": F, "ssm.conv_kernel": 4, "ssm.inner_size": Hv * d, "ssm.state_size": d,
        "ssm.time_step_rank": Hv, "ssm.group_count": Hk, "full_attention_interval": 4, "nextn_predict_layers": 1}


def gemma4_moe(t):
    """Gemma 4 26B-A4B: five windowed layers, then one full, which has no values of its own."""
    D, V, H, E, F, dense, L = 2816, 262144, 16, 128, 704, 2112, 30
    t.add("", token_embd=(D, V), output_norm=(D,), rope_freqs=(256,))
    windowed = [i % 6 != 5 for i in range(L)]
    for i in range(L):
        p = f"blk.{i}."
        hd, K = (256, 8) if windowed[i] else (512, 2)
        t.add(p, attn_norm=(D,), post_attention_norm=(D,), ffn_norm=(D,), post_ffw_norm=(D,), attn_q=(D, H * hd), attn_k=(D, K * hd),
              attn_output=(H * hd, D), attn_q_norm=(hd,), attn_k_norm=(hd,), layer_output_scale=(1,))
        if windowed[i]:
            t.add(p, attn_v=(D, K * hd))
        t.add(p, ffn_gate=(D, dense), ffn_up=(D, dense), ffn_down=(dense, D), ffn_gate_inp=(D, E), ffn_gate_inp__scale=(D,),
              pre_ffw_norm_2=(D,), post_ffw_norm_1=(D,), post_ffw_norm_2=(D,), ffn_gate_up_exps=(D, 2 * F, E),
              ffn_down_exps=(F, D, E), ffn_down_exps__scale=(E,))
    return "gemma4", {
        "block_count": L, "context_length": 262144, "embedding_length": D, "feed_forward_length": dense, "attention.head_count": H,
        "attention.head_count_kv": [8 if w else 2 for w in windowed], "attention.key_length": 512, "attention.value_length": 512,
        "attention.key_length_swa": 256, "attention.value_length_swa": 256, "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": 1024, "attention.sliding_window_pattern": windowed, "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4, "rope.dimension_count": 512, "rope.dimension_count_swa": 256,
        "embedding_length_per_layer_input": 0, "expert_count": E, "expert_used_count": 8, "expert_feed_forward_length": F}


def glm_dsa(t):
    """GLM-5 with its block for multi-token prediction."""
    D, V, H, E, F, dense, Rq, R, rope, nope, dv = 6144, 154880, 64, 256, 2048, 12288, 2048, 512, 64, 192, 256
    ni, di = 32, 128
    t.add("", token_embd=(D, V), output_norm=(D,), output=(D, V))
    for i in range(79):
        p = f"blk.{i}."
        t.add(p, attn_norm=(D,), ffn_norm=(D,), attn_q_a=(D, Rq), attn_q_a_norm=(Rq,), attn_q_b=(Rq, H * (nope + rope)),
              attn_kv_a_mqa=(D, R + rope), attn_kv_a_norm=(R,), attn_k_b=(nope, R, H), attn_v_b=(R, dv, H), attn_output=(H * dv, D))
        t.add(p + "indexer.", attn_q_b=(Rq, ni * di), attn_k=(D, di), k_norm=(di,), k_norm__bias=(di,), proj=(D, ni))
        if i < 3:
            t.add(p, ffn_gate=(D, dense), ffn_up=(D, dense), ffn_down=(dense, D))
        else:
            t.add(p, ffn_gate_inp=(D, E), exp_probs_b__bias=(E,), ffn_gate_exps=(D, F, E), ffn_up_exps=(D, F, E),
                  ffn_down_exps=(F, D, E), ffn_gate_shexp=(D, F), ffn_up_shexp=(D, F), ffn_down_shexp=(F, D))
    t.add("blk.78.nextn.", eh_proj=(2 * D, D), enorm=(D,), hnorm=(D,), shared_head_norm=(D,))
    return "glm-dsa", {
        "block_count": 79, "context_length": 202752, "embedding_length": D, "feed_forward_length": dense, "attention.head_count": H,
        "attention.head_count_kv": 1, "attention.key_length": R + rope, "attention.value_length": R,
        "attention.key_length_mla": nope + rope, "attention.value_length_mla": dv, "attention.q_lora_rank": Rq,
        "attention.kv_lora_rank": R, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 1e6, "rope.dimension_count": rope,
        "attention.indexer.head_count": ni, "attention.indexer.key_length": di, "attention.indexer.top_k": 2048,
        "leading_dense_block_count": 3, "expert_count": E, "expert_used_count": 8, "expert_feed_forward_length": F,
        "expert_shared_count": 1, "expert_weights_scale": 2.5, "expert_weights_norm": True, "nextn_predict_layers": 1}


def deepseek4(t):
    """DeepSeek-V4-Flash, whose experts are published in MXFP4; here all of it is BF16."""
    D, V, H, hd, E, F, Rq, L, G, r, used = 4096, 129280, 64, 512, 256, 2048, 1024, 43, 8, 1024, 6
    ni, di, hc, hashed = 64, 128, 4, 3
    t.add("", token_embd=(D, V), output_norm=(D,), output=(D, V), output_hc_fn=(hc * D, hc), output_hc_base=(hc,), output_hc_scale=(1,))
    ratios = [0 if i < 2 else 4 if i % 2 == 0 else 128 for i in range(L)]
    for i in range(L):
        p = f"blk.{i}."
        t.add(p, attn_norm=(D,), attn_sinks=(H,), attn_q_a=(D, Rq), attn_q_a_norm=(Rq,), attn_q_b=(Rq, H * hd), attn_kv=(D, hd),
              attn_kv_a_norm=(hd,), attn_output_a=(H * hd // G, r * G), attn_output_b=(G * r, D), ffn_norm=(D,))
        for part in ("attn", "ffn"):
            mixes = hc * (hc + 2)
            t.add(p + f"hc_{part}_", fn=(hc * D, mixes), base=(mixes,), scale=(3,))
        if ratios[i]:
            width = 2 * hd if ratios[i] == 4 else hd
            t.add(p + "attn_compressor_", kv=(D, width), gate=(D, width), ape=(width, ratios[i]), norm=(hd,))
        if ratios[i] == 4:
            t.add(p, indexer__proj=(D, ni), indexer__attn_q_b=(Rq, ni * di))
            t.add(p + "indexer_compressor_", kv=(D, 2 * di), gate=(D, 2 * di), ape=(2 * di, 4), norm=(di,))
        if i < hashed:
            t.add(p, ffn_gate_tid2eid=(used, V))
        else:
            t.add(p, exp_probs_b__bias=(E,))
        t.add(p, ffn_gate_inp=(D, E), ffn_gate_exps=(D, F, E), ffn_up_exps=(D, F, E), ffn_down_exps=(F, D, E), ffn_gate_shexp=(D, F),
              ffn_up_shexp=(D, F), ffn_down_shexp=(F, D))
    return "deepseek4", {
        "block_count": L, "context_length": 1048576, "embedding_length": D, "feed_forward_length": F, "attention.head_count": H,
        "attention.head_count_kv": 1, "attention.key_length": hd, "attention.value_length": hd, "attention.q_lora_rank": Rq,
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e4, "rope.dimension_count": 64, "attention.sliding_window": 128,
        "expert_count": E, "expert_used_count": used, "expert_feed_forward_length": F, "expert_shared_count": 1,
        "expert_gating_func": 4, "expert_weights_scale": 1.5, "expert_weights_norm": True, "swiglu_clamp_exp": [10.0] * L,
        "attention.indexer.head_count": ni, "attention.indexer.key_length": di, "attention.indexer.top_k": 512,
        "attention.output_group_count": G, "attention.output_lora_rank": r, "attention.compress_ratios": ratios,
        "attention.compress_rope_freq_base": 160000.0, "hyper_connection.count": hc, "hyper_connection.sinkhorn_iterations": 20,
        "hyper_connection.epsilon": 1e-6, "hash_layer_count": hashed}


MODELS = {"qwen3.5-35b-a3b": qwen35moe, "gemma-4-26b-a4b": gemma4_moe, "glm-5": glm_dsa, "deepseek-v4-flash": deepseek4}


def write_model(make, path):
    """A file of the full length that takes no room; returns the query heads per key-value head, and the experts."""
    tensors = Tensors()
    architecture, keys = make(tensors)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        key = f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    end = 0
    for name, shape, kind in tensors:
        n_bytes = BYTES[kind]
        for n in shape:
            n_bytes *= n
        writer.add_tensor_info(name, shape[::-1], None, n_bytes, raw_dtype=TYPES[kind])
        end += -(-n_bytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        size = file.seek(0, 2)
        file.truncate(-(-size // 32) * 32 + end)
    kv = keys["attention.head_count_kv"]
    return keys["attention.head_count"] // (kv[0] if isinstance(kv, list) else kv), keys["expert_count"]


def extend(header, path):
    """A copy of a file, of the length that its tensors need; returns as write_model()."""
    path.write_bytes(pathlib.Path(header).read_bytes())
    data = path.read_bytes()
    with open(path, "r+b") as file:
        file.truncate(len(data) + (1 << 40))
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields[key].contents() if key in reader.fields else 0
    architecture = field("general.architecture")
    heads = field(f"{architecture}.attention.head_count")
    return heads // field(f"{architecture}.attention.head_count_kv"), field(f"{architecture}.expert_count")


def write_imatrix(path):
    """The old format, with one entry: that there is a matrix is all that the choice looks at."""
    name = b"blk.0.attn_q.weight"
    path.write_bytes(struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 1, 1) + struct.pack("<f", 1.0) +
                     struct.pack("<ii", 1, 0))


LINE = re.compile(r"\] +(\S+) +- \[([ \d,]+)\], type = +(\S+), size = .*?MiB(?: -> .*\((\S+)\))?$")


def picks(binary, model, mix, imatrix=None):
    command = [binary, "--dry-run"] + (["--imatrix", imatrix] if imatrix else []) + [model, "/dev/null", mix]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    output = run.stdout + run.stderr
    rows = {}
    for line in output.splitlines():
        if found := LINE.search(line):
            name, shape, source, picked = found.groups()
            shape = [int(n) for n in shape.split(",")]
            while len(shape) > 1 and shape[-1] == 1:
                shape.pop()
            rows[name] = (shape, source, picked or source)
    size = re.search(r"quant size += +([\d.]+) MiB", output)
    if run.returncode or not size:
        sys.exit(f"{mix}: {output[-2000:]}")
    return rows, size.group(1)


def record(binary, name, header):
    with tempfile.TemporaryDirectory() as folder:
        model, imatrix = pathlib.Path(folder) / "model.gguf", pathlib.Path(folder) / "some.imatrix"
        gqa, experts = extend(header, model) if header else write_model(MODELS[name], model)
        write_imatrix(imatrix)
        columns, with_imatrix = {}, {}
        for mix in MIXES:
            columns[mix] = picks(binary, model, mix)
            other = picks(binary, model, mix, imatrix)
            if other[0] != columns[mix][0]:
                with_imatrix[mix + "+imatrix"] = other
    columns |= with_imatrix
    kinds = collections.defaultdict(list)
    for tensor, (shape, source, _) in columns[MIXES[0]][0].items():
        number = re.match(r"blk\.(\d+)\.", tensor)
        kind = f"blk.N.{tensor[number.end():]}" if number else tensor
        chosen = [rows[tensor][2].upper() for rows, _ in columns.values()]
        kinds[kind, ",".join(map(str, shape)), source.upper(), *chosen].append(int(number.group(1)) if number else None)
    with open(HERE / f"{name}.tsv", "w") as out:
        print("name", "layers", "shape", "source", *columns, sep="\t", file=out)
        print("#facts", gqa, experts, sep="\t", file=out)
        print("#MiB", "", "", "", *(size for _, size in columns.values()), sep="\t", file=out)
        for row, layers in sorted(kinds.items()):
            print(row[0], ranges(layers), *row[1:], sep="\t", file=out)


def ranges(layers):
    if layers == [None]:
        return ""
    parts = []
    for layer in sorted(layers):
        if parts and parts[-1][1] == layer - 1:
            parts[-1][1] = layer
        else:
            parts.append([layer, layer])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        model_name, _, header_file = argument.partition("=")
        record(sys.argv[1], model_name, header_file)
