#!/usr/bin/env python3
"""An importance matrix without calibration, for trying out runs at full size on models without real weights.

  flat_imatrix.py MODEL.gguf IMATRIX.gguf

Every matrix of a layer and the output get an entry: importance rises from 1 to 2 along the columns, every expert has
seen 1000 inputs. MODEL's header is enough. Needs the Python package gguf.
"""
import sys

import numpy as np
from gguf import GGUFReader, GGUFWriter

COUNT = 1000


def main(model, imatrix):
    writer = GGUFWriter(imatrix, arch="")
    writer.kv_data[0].clear()
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["flat"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for tensor in GGUFReader(model).tensors:
        shape = [int(n) for n in tensor.shape]
        if not tensor.name.endswith(".weight") or len(shape) < 2 or "norm" in tensor.name or "token_embd" in tensor.name:
            continue
        experts = shape[2] if len(shape) > 2 else 1
        row = (1 + np.arange(shape[0], dtype=np.float32) / shape[0]) * COUNT
        writer.add_tensor(tensor.name + ".in_sum2", np.tile(row, (experts, 1)))
        writer.add_tensor(tensor.name + ".counts", np.full((experts, 1), COUNT, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
