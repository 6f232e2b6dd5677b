"""Imatrix, plan, quantize, KL divergence: what a mix costs a model, in twenty lines.

python3 examples/measure.py [MODEL.gguf [PLAN]]    (pip install . first, or PYTHONPATH=build/python)
"""
import sys
import tempfile
from pathlib import Path

import steelyard

root = Path(__file__).parent.parent
model = sys.argv[1] if len(sys.argv) > 1 else root / "tests/models/glm-flash-tiny-bf16.gguf"
plan = sys.argv[2] if len(sys.argv) > 2 else root / "plans/glm-4.7-flash-asym-2bit.plan"
text = root / "tests/text/heldout.txt"

with tempfile.TemporaryDirectory() as folder:
    importance, small, base = (f"{folder}/{name}" for name in ("imatrix.gguf", "small.gguf", "base.kld"))
    steelyard.imatrix(model, file=root / "calibration/default.txt", chunks=64, output_file=importance)
    planned = steelyard.plan(model, plan=plan, imatrix=importance)
    print(f"{len(planned['tensors'])} tensors, {planned['bits_per_weight']:.3f} bits per weight")
    steelyard.quantize(model, small, plan=plan, imatrix=importance)
    steelyard.perplexity(model, file=text, chunks=16, kl_divergence_base=base)
    cost = steelyard.perplexity(small, file=text, chunks=16, kl_divergence_base=base, kl_divergence=True)
    print(f"perplexity {cost['perplexity']:.3f}, mean KLD {cost['mean_kld']:.5f}, same top {cost['same_top']:.1%}")
