"""
One llama.cpp server as a process: `python -m penstock.node.engines.llama_cpp_server …`, started by the node.

It ends with its parent: the kernel sends SIGKILL (`PR_SET_PDEATHSIG`), so that this works deep inside native code too.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from setproctitle import setproctitle

from penstock.node.engines.llama_cpp import LlamaCpp
from penstock.telemetry.parent import end_with_parent

_DRAIN_S = 10  # how long SIGTERM waits for what is in flight
_DRAIN_LOOK_S = 0.02
_CACHE_MIB = 64  # prompts kept in memory for reuse; llama.cpp's own default is 8192
_SPARE_HTTP_THREADS = 8  # for idle connections and probes; the server adds more when they are used up


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM; then finish what is in flight, for at most ten seconds, and leave with code 0."""
    parser = argparse.ArgumentParser(prog="penstock engine")
    for name in ("replica", "alias", "weights", "socket"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("parent", "context", "parallel", "threads"):
        parser.add_argument(f"--{name}", required=True, type=int)
    options = parser.parse_args(arguments)
    end_with_parent(options.parent)
    setproctitle(f"penstock engine {options.replica}")

    # Blocked before there are threads, which inherit this: only `sigwait` gets the signal, whatever the server does.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    loaded: Future[object] = Future()
    threading.Thread(target=_load, args=(options, loaded), name="load", daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    if loaded.done():
        _drain(loaded.result())
    os._exit(0)  # the server's own clean-up could block; nothing here needs it


def _load(options: argparse.Namespace, loaded: Future[object]) -> None:
    """Start the server, which returns when the model is loaded; end the process when it cannot."""
    try:
        import xllamacpp  # only now: end_with_parent must not wait for 100 MB of library

        loaded.set_result(xllamacpp.Server(_parameters(xllamacpp.CommonParams(), options)))
    except Exception as error:  # noqa: BLE001  # reported, and the process ends: a thread must not die alone
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)


def _parameters(parameters: object, options: argparse.Namespace) -> object:
    """Fill in llama.cpp's parameters; the comments say why where the name does not."""
    threads = {"n_threads": options.threads}
    values: dict[str, object] = {
        "model_alias": {options.alias},
        "hostnames": [options.socket],  # a name that ends in .sock is the path of a Unix socket
        "n_ctx": options.context * options.parallel,  # all sequences together
        "n_parallel": options.parallel,
        "n_threads_http": options.parallel + _SPARE_HTTP_THREADS,
        "cont_batching": True,
        "endpoint_metrics": True,
        "endpoint_slots": False,  # shows prompts
        "endpoint_props": False,
        "cors_origins": "",
        "ui": False,
        "offline": True,
        "use_jinja": True,
        "warmup": True,
        "fit_params": False,  # it would change the context that was asked for to fit the memory
        "kv_unified": False,  # each sequence has its whole context
        "cache_ram_mib": _CACHE_MIB,
        "sse_ping_interval": -1,  # the gateway sends its own keep-alive comments
        "verbosity": 1,  # errors
    }
    for name, value in values.items():
        setattr(parameters, name, value)
    for group, settings in (("model", {"path": options.weights}), ("cpuparams", threads), ("cpuparams_batch", threads)):
        for name, value in settings.items():
            setattr(getattr(parameters, group), name, value)
    return parameters


def _drain(server: object) -> None:
    """Wait until nothing is in flight. The alarm's default action ends us should the server not answer any more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_DRAIN_S)
    while True:
        metrics = server.handle_metrics()  # type: ignore[attr-defined]  # xllamacpp ships no types
        progress = LlamaCpp().progress(metrics.encode() if isinstance(metrics, str) else bytes(metrics))
        if progress is None or progress.running + progress.waiting == 0:
            return
        time.sleep(_DRAIN_LOOK_S)


if __name__ == "__main__":
    main()
