"""Weights in the codings of publishers, and what numpy makes of them: codings.safetensors, and codings.f32 with the
values of the weights in the order of their names. From the specifications of the codings, without our code."""

import json
import pathlib
import struct

import numpy as np

random = np.random.default_rng(7)
tensors, expected = {}, {}


def e4m3(bits):
    bits = bits.astype(np.int64)
    exponent, mantissa = (bits >> 3) & 15, bits & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.where(bits & 128, -value, value).astype(np.float32)


E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def put(name, dtype, values):
    tensors[name] = (dtype, values.shape, values.tobytes())


def bf16(values):
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def codes(*shape):
    return random.integers(0, 256, shape, np.uint8)


# FP8 with blocks of 128 x 128, whose last ones are cut
bits = codes(160, 192)
bits[bits & 127 == 127] = 1  # NaN
scale = random.uniform(1e-3, 1e-2, (2, 2)).astype(np.float32)
put("fp8.weight", "F8_E4M3", bits)
put("fp8.weight_scale_inv", "F32", scale)
expected["fp8.weight"] = e4m3(bits) * np.repeat(np.repeat(scale, 128, 0), 128, 1)[:160, :192]
# FP8 with a scale for each row, and one for all
put("fp8_rows.weight", "F8_E4M3", bits[:4])
put("fp8_rows.weight_scale", "BF16", bf16(scale.repeat(1).reshape(4, 1)))
expected["fp8_rows.weight"] = e4m3(bits[:4]) * from_bf16(bf16(scale)).reshape(4, 1)
put("fp8_whole.weight", "F8_E4M3", bits[4:6])
put("fp8_whole.weight_scale", "F32", scale[0, :1])
expected["fp8_whole.weight"] = e4m3(bits[4:6]) * scale[0, 0]

# MXFP4 as in gpt-oss: [expert, row, block, byte]
packed, exponent = codes(2, 6, 3, 16), random.integers(120, 130, (2, 6, 3), np.uint8)
put("experts.mxfp4_blocks", "U8", packed)
put("experts.mxfp4_scales", "U8", exponent)
pairs = np.stack([packed & 15, packed >> 4], -1).reshape(2, 6, 3, 32)
expected["experts.mxfp4"] = (E2M1[pairs] * np.exp2(exponent.astype(np.float32) - 127)[..., None]).reshape(2, 6, 96)

# NVFP4 of ModelOpt, and of compressed-tensors, whose factor is the reciprocal
packed, scale8 = codes(4, 64), codes(4, 8) & 127
scale8[scale8 == 127] = 8
pairs = E2M1[np.stack([packed & 15, packed >> 4], -1).reshape(4, 128)]
scaled = pairs.reshape(4, 8, 16) * e4m3(scale8)[..., None]
put("nvfp4.weight", "U8", packed)
put("nvfp4.weight_scale", "F8_E4M3", scale8)
put("nvfp4.weight_scale_2", "F32", np.array(0.25, np.float32))
expected["nvfp4.weight"] = (scaled * np.float32(0.25)).reshape(4, 128)
put("packed.weight_packed", "U8", packed)
put("packed.weight_scale", "F8_E4M3", scale8)
put("packed.weight_global_scale", "F32", np.array([8], np.float32))
expected["packed.weight"] = (scaled * np.float32(0.125)).reshape(4, 128)

# INT4 of compressed-tensors: groups of 32, eight codes to an I32
integers = random.integers(0, 16, (4, 96), np.uint32)
words = sum(integers[:, i::8] << np.uint32(4 * i) for i in range(8)).astype(np.uint32)
scale = bf16(random.uniform(1e-3, 1e-2, (4, 3)))
put("int4.weight_packed", "I32", words)
put("int4.weight_scale", "BF16", scale)
put("int4.weight_shape", "I64", np.array([4, 96], np.int64))
expected["int4.weight"] = ((integers.astype(np.float32) - 8).reshape(4, 3, 32) * from_bf16(scale)[..., None]).reshape(4, 96)

# plain values
for name, values in (("F64", random.normal(size=6)), ("F16", random.normal(size=6).astype(np.float16)),
                     ("F32", random.normal(size=6).astype(np.float32))):
    put(f"plain.{name}", name, values)
    expected[f"plain.{name}"] = values.astype(np.float32)
put("plain.BF16", "BF16", bf16(random.normal(size=6)))
expected["plain.BF16"] = from_bf16(np.frombuffer(tensors["plain.BF16"][2], np.uint16))

folder = pathlib.Path(__file__).parent
header, data = {}, b""
for name, (dtype, shape, raw) in tensors.items():
    header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
(folder / "codings.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
(folder / "codings.f32").write_bytes(b"".join(expected[name].astype("<f4").tobytes() for name in sorted(expected)))
