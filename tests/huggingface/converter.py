"""Runs llama.cpp's converter on a folder, without its tokenizer: converter.py LLAMA_CPP FOLDER OUTPUT. The converter is
in the source distribution of llama-cpp-python, as vendor/llama.cpp."""

import logging
import pathlib
import sys

root, folder, output = (pathlib.Path(argument) for argument in sys.argv[1:4])
sys.path[:0] = [str(root / "gguf-py"), str(root)]

import gguf  # noqa: E402
import torch  # noqa: E402
from conversion import ModelBase, ModelType, TextModel, get_model_architecture, get_model_class  # noqa: E402

logging.disable(logging.WARNING)
with torch.inference_mode():
    hparams = ModelBase.load_hparams(folder, False)
    kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    kind.set_vocab = lambda self: None
    kind.tensor_force_quant = getattr(kind, "tensor_force_quant")
    model = kind(folder, gguf.LlamaFileType.MOSTLY_BF16, output)
    model._create_vocab_sentencepiece = lambda: ([b""] * hparams.get("vocab_size", 0), None, None)
    model.write()
