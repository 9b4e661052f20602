"""llama.cpp, as the server inside `xllamacpp`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.node.engines import gguf_file
from penstock.node.engines.engine import Progress
from penstock.snapshot.fleet import EngineSpec

# Models below this size are faster with one thread: on two busy cores a model of 0.5 MB made 64 tokens in 13 ms with
# one thread and in 5.7 s with two, which spend their time waiting for each other between matrix products.
_ONE_THREAD_BYTES = 64 * 1024 * 1024

_INHERITED = ("PATH", "HOME", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_INHERITED_PREFIXES = ("LANG", "LC_", "PYTHON", "OMP_", "GGML_", "CUDA_")

_SAMPLE = re.compile(rb"^llamacpp:(n_decode_total|requests_processing|requests_deferred) ([0-9.e+]+)$", re.MULTILINE)
_ERROR = re.compile(r"^(?:[0-9.]+ )?E +(.+)$", re.MULTILINE)
_REASON = 300  # characters


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    usage: _Usage = msgspec.field(default_factory=_Usage)


class LlamaCpp:
    """Adapter for `penstock.node.engines.llama_cpp_server`."""

    def check_weights(self, path: Path) -> None:
        """See `Engine`."""
        gguf_file.check(path)

    def command(self, spec: EngineSpec, replica: str, socket: Path) -> list[str]:
        """See `Engine`."""
        command = [sys.executable, "-m", "penstock.node.engines.llama_cpp_server"]
        command += ["--replica", replica, "--alias", spec.deployment, "--weights", spec.weights]
        command += ["--socket", os.fspath(socket), "--parent", str(os.getpid())]
        command += ["--context", str(spec.context), "--parallel", str(spec.parallel)]
        return [*command, "--threads", str(spec.threads or _threads(Path(spec.weights)))]

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """See `Engine`."""
        passed = {
            name: value for name, value in environ.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        return {**passed, "GGML_NO_BACKTRACE": "1"}  # a crash must end the process, not start a debugger

    def warm_up(self, spec: EngineSpec) -> bytes:
        """See `Engine`."""
        return msgspec.json.encode(
            {"model": spec.deployment, "prompt": "Hello", "max_tokens": 1, "ignore_eos": True, "cache_prompt": False}
        )

    def generated(self, body: bytes) -> bool:
        """See `Engine`."""
        try:
            return msgspec.json.decode(body, type=_Completion).usage.completion_tokens > 0
        except msgspec.DecodeError:
            return False

    def progress(self, metrics: bytes) -> Progress | None:
        """See `Engine`."""
        found = {name: int(float(value)) for name, value in _SAMPLE.findall(metrics)}
        try:
            return Progress(
                steps=found[b"n_decode_total"],
                running=found[b"requests_processing"],
                waiting=found[b"requests_deferred"],
            )
        except KeyError:
            return None

    def reason(self, output: str) -> str:
        """See `Engine`: the first error is the cause, what follows are its consequences."""
        lines = _ERROR.findall(output) or [line for line in reversed(output.splitlines()) if line.strip()]
        return " ".join(lines[0].split())[:_REASON] if lines else ""


def _threads(weights: Path) -> int:
    """Leave one core to the gateway: the threads wait for each other, so one that is preempted stalls all."""
    cores = len(os.sched_getaffinity(0))
    return 1 if weights.stat().st_size < _ONE_THREAD_BYTES else max(1, cores - 1)
