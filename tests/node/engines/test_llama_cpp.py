from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.node.engines import ENGINES
from penstock.node.engines.engine import Engine, Progress
from penstock.node.engines.llama_cpp import LlamaCpp
from penstock.snapshot.fleet import EngineSpec

METRICS = b"""\
# HELP llamacpp:n_decode_total Total number of llama_decode() calls
# TYPE llamacpp:n_decode_total counter
llamacpp:n_decode_total 1.5e+3
llamacpp:requests_processing 3
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 2
llamacpp:n_busy_slots_per_decode 1
"""


@pytest.fixture
def engine() -> Engine:
    return ENGINES["llama.cpp"]


def test_reads_its_progress(engine: Engine) -> None:
    assert engine.progress(METRICS) == Progress(steps=1500, running=3, waiting=2)
    assert engine.progress(METRICS.replace(b"requests_deferred 2", b"")) is None
    assert engine.progress(b'{"error":{}}') is None


@pytest.mark.parametrize(
    ("body", "generated"),
    [
        (b'{"choices":[{"text":"x"}],"usage":{"completion_tokens":1}}', True),
        (b'{"choices":[],"usage":{"completion_tokens":0}}', False),
        (b'{"choices":[]}', False),
        (b'{"usage":{"completion_tokens":"1"}}', False),
        (b"nonsense", False),
    ],
)
def test_ready_means_a_token(engine: Engine, body: bytes, generated: bool) -> None:
    assert engine.generated(body) is generated


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("0.00.012.858 E llama_model_load: error loading model: bad\n0.00.1 E srv: failed\nFailed to init", "bad"),
        ("warming up\nE srv  start: couldn't   bind\n", "srv start: couldn't bind"),
        ("Traceback\nImportError: no xllamacpp\n\n", "ImportError: no xllamacpp"),
        ("x" * 1000, "x" * 300),
        ("", ""),
    ],
)
def test_the_reason_is_the_first_error_or_the_last_line(engine: Engine, output: str, reason: str) -> None:
    assert engine.reason(output).endswith(reason)
    assert len(engine.reason(output)) <= 300


def test_the_process_gets_no_secret(engine: Engine) -> None:
    environ = engine.environ(
        {"PATH": "/bin", "OPENAI_API_KEY": "secret", "LC_ALL": "C", "PENSTOCK_SECRET_KEY": "secret", "OMP_PLACES": "x"}
    )
    assert environ == {"PATH": "/bin", "LC_ALL": "C", "OMP_PLACES": "x", "GGML_NO_BACKTRACE": "1"}


def test_a_small_model_gets_one_thread_and_a_stated_number_is_kept(tmp_path: Path) -> None:
    weights = tmp_path / "w.gguf"
    weights.write_bytes(b"")
    spec = EngineSpec("mini", "1", "llama.cpp", str(weights), 1, 512, 2)
    command = LlamaCpp().command(spec, "mini/0", Path("/run/x.sock"))
    assert command[command.index("--threads") + 1] == "1"
    with weights.open("wb") as file:
        file.truncate(1 << 30)  # sparse
    command = LlamaCpp().command(spec, "mini/0", Path("/run/x.sock"))
    assert command[command.index("--threads") + 1] == str(max(1, len(os.sched_getaffinity(0)) - 1))
    spec = EngineSpec("mini", "1", "llama.cpp", str(weights), 1, 512, 2, threads=7)
    command = LlamaCpp().command(spec, "mini/0", Path("/run/x.sock"))
    assert command[command.index("--threads") + 1] == "7"


def test_the_process_ends_when_its_parent_is_not_the_node(tmp_path: Path) -> None:
    arguments = ["--replica", "m/0", "--alias", "m", "--weights", "w", "--socket", str(tmp_path / "s.sock")]
    arguments += ["--parent", "1", "--context", "1", "--parallel", "1", "--threads", "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "penstock.node.engines.llama_cpp_server", *arguments], check=False, timeout=60
    )
    assert ended.returncode == 1
