"""The Python module: each job once, progress, errors, Ctrl-C, threads, stubs. Run by pytest with PYTHONPATH=build/python."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import steelyard

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests/models/glm-flash-tiny-bf16.gguf"
PLAN = ROOT / "plans/glm-4.7-flash-asym-2bit.plan"
TEXT = ROOT / "tests/text/heldout.txt"


def test_plan():
    planned = steelyard.plan(MODEL, plan=PLAN)
    assert len(planned["tensors"]) == 70
    assert 3 < planned["bits_per_weight"] < 4


def test_preset_is_found():
    assert steelyard.plan(MODEL, preset="Q4_K_M")["total_bytes"] > 0


def test_quantize_and_inspect(tmp_path):
    events = []
    written = steelyard.quantize(MODEL, tmp_path / "q8.gguf", "Q8_0", progress=events.append)
    assert written["bytes"] == (tmp_path / "q8.gguf").stat().st_size
    assert {"stage", "done", "total", "unit", "data"} == set(events[0])
    assert any(event["stage"] == "encode" for event in events)
    assert all(event["done"] <= event["total"] for event in events if event["total"])
    assert {tensor["type"] for tensor in steelyard.inspect(tmp_path / "q8.gguf")["tensors"]} == {"Q8_0", "F32"}


def test_importance_and_divergence(tmp_path):
    imatrix, base = tmp_path / "imatrix.gguf", tmp_path / "base.kld"
    steelyard.imatrix(MODEL, file=TEXT, chunks=4, output_file=imatrix)
    steelyard.quantize(MODEL, tmp_path / "small.gguf", "Q4_K", imatrix=imatrix)
    plain = steelyard.perplexity(MODEL, file=TEXT, chunks=2, kl_divergence_base=base)
    small = steelyard.perplexity(
        tmp_path / "small.gguf", file=TEXT, chunks=2, kl_divergence_base=base, kl_divergence=True
    )
    assert plain["perplexity"] > 1
    assert 0 < small["mean_kld"] < 0.1


def test_own_text(tmp_path):
    events = []
    written = steelyard.write(MODEL, tmp_path / "own.text", ctx_size=32, chunks=4, seed=7, progress=events.append)
    assert written["n_chunks"] == 4
    assert written["sha256"] == hashlib.sha256((tmp_path / "own.text").read_bytes()).hexdigest()
    assert [(event["stage"], event["done"]) for event in events][-1] == ("write", 4)
    quantized = steelyard.quantize(MODEL, tmp_path / "q.gguf", "Q4_0", calibrate="self:64", ctx_size=32, effort="fast")
    assert quantized["writing"]["n_chunks"] == 2
    kept = steelyard.imatrix(MODEL, file=tmp_path / "own.text", output_file=tmp_path / "i.gguf")
    assert kept["collected"]["n_chunks"] == 4


def test_tune(tmp_path):
    steelyard.quantize(MODEL, tmp_path / "q.gguf", "Q4_0", effort="fast")
    events = []
    tuned = steelyard.tune(
        tmp_path / "q.gguf", tmp_path / "tuned.gguf", teacher=MODEL, file=TEXT, ctx_size=32, chunks=6,
        steps=2, step_chunks=2, held_out=2, compare_every=1, progress=events.append,
    )
    assert [at["step"] for at in tuned["comparisons"]] == [0, 1, 2]
    assert tuned["divergence"] <= tuned["divergence_before"]
    assert tuned["bytes"] == (tmp_path / "tuned.gguf").stat().st_size
    assert [event["stage"] for event in events][-4:] == ["tuning", "tune", "tune", "tune"]
    with pytest.raises(steelyard.Error, match="teacher"):
        steelyard.tune(tmp_path / "q.gguf", tmp_path / "other.gguf", file=TEXT)


def test_fit():
    assert steelyard.fit(MODEL, "1GiB")["fits"]
    assert not steelyard.fit(MODEL, "8MiB", reserve=0)["fits"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: steelyard.plan("/nowhere.gguf", preset="Q4_K_M"),
        lambda: steelyard.plan(MODEL, preset="Q4_K_M", unheard_of=1),
        lambda: steelyard.plan(MODEL, preset=4),
        lambda: steelyard.fit(MODEL, "24 parsecs"),
        lambda: steelyard.perplexity(MODEL),
        lambda: steelyard.write(MODEL, "/nowhere/own.text"),
        lambda: steelyard.perplexity(MODEL, file=TEXT, threads=100000),
    ],
)
def test_errors_are_exceptions(call):
    with pytest.raises(steelyard.Error) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_progress_raises_ends_the_job(tmp_path):
    def refuse(event):
        if event["stage"] == "encode":
            raise KeyError("enough")

    with pytest.raises(KeyError):
        steelyard.quantize(MODEL, tmp_path / "q.gguf", "Q4_K", progress=refuse, effort="best")
    assert not (tmp_path / "q.gguf").exists()


def test_other_threads_run():
    counted = 0
    done = threading.Event()

    def count():
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    steelyard.perplexity(MODEL, file=TEXT, chunks=2)
    done.set()
    thread.join()
    assert counted > 10


def test_ctrl_c_ends_a_job(tmp_path):
    program = (
        "import steelyard, sys\n"
        "print('begin', flush=True)\n"
        f"steelyard.imatrix({str(MODEL)!r}, file={str(ROOT / 'calibration/default.txt')!r},\n"
        f"  output_file={str(tmp_path / 'i.gguf')!r}, batch_size=512)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    child.stdout.readline()
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode != 0
    assert b"KeyboardInterrupt" in errors
    assert not (tmp_path / "i.gguf").exists()


def test_stubs_are_those_of_the_options():
    written = subprocess.run(
        [sys.executable, str(ROOT / "python/make_stubs.py")], capture_output=True, check=True, env=os.environ
    ).stdout
    assert written.decode() == (ROOT / "python/steelyard/__init__.pyi").read_text()
