"""The peers: one table of what is compared, in which version, how it is fetched and how it is started."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import instant, process
from bench.gateway.errors import Unavailable
from bench.gateway.serving import Launch, Place, Serving, launched
from penstock.lab.running import free_port

CACHE = process.ROOT / ".bench"
_KEY = b"authorization: Bearer sk-test\r\n"
_INSTALL_S = 900.0
_UNTRIED = "configured from its documentation"  # there was no binary to try it with

Start = Callable[["Peer", Place], Launch]


@dataclass(frozen=True, slots=True)
class Peer:
    """
    A gateway by somebody else.

    Attributes:
        source: `pip`, `npm`, or the Debian package (or nothing) when the command `package` must be on the PATH.
        package: what pip or npm install; else the command.
        version: pinned; empty when it is whichever is there.
        note: for the reader of the report.
    """

    name: str
    title: str
    source: str
    package: str
    version: str
    start: Start
    rust: bool = False
    note: str = ""

    @property
    def home(self) -> Path:
        """Where pip or npm install it."""
        return CACHE / f"{self.name}-{self.version}"

    @property
    def python(self) -> str:
        """The Python of its environment."""
        return str(self.home / "bin" / "python")

    @property
    def about(self) -> str:
        """Its version, and what else is to be known."""
        return "; ".join(part for part in (self.version or _told_version(self.package), self.note) if part)

    def install(self) -> None:
        """Fetch it unless it is there. Raises Unavailable."""
        if self.source not in {"pip", "npm"}:
            if shutil.which(self.package) is None:
                hint = f"; on Debian: apt-get install {self.source}" if self.source else ""
                raise Unavailable(f"`{self.package}` is not on the PATH{hint}")
            return
        done = self.home / ".installed"
        if done.exists():
            return
        shutil.rmtree(self.home, ignore_errors=True)
        print(f"installing {self.title} {self.version} into {self.home} ...", file=sys.stderr)
        self.home.mkdir(parents=True)
        if self.source == "pip":
            name, bracket, extra = self.package.partition("[")
            requirement = f"{name}{bracket}{extra}=={self.version}"
            _run("venv", [sys.executable, "-m", "venv", str(self.home)])
            options = ["--quiet", "--disable-pip-version-check"]
            _run(f"pip install {requirement}", [self.python, "-m", "pip", "install", *options, requirement])
        else:
            if shutil.which("npm") is None or shutil.which("node") is None:
                raise Unavailable("node and npm are not on the PATH")
            requirement = f"{self.package}@{self.version}"
            options = ["--prefix", str(self.home), "--no-audit", "--no-fund"]
            _run(f"npm install {requirement}", ["npm", "install", *options, requirement])
        done.touch()

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Serving]:
        """Run it for the time of a block. Raises Unavailable."""
        with launched(self.start(self, place), place) as serving:
            yield serving


def _nginx(_: Peer, place: Place) -> Launch:
    port = free_port()
    return Launch(instant.proxy_command(place.directory, port, place.upstream_port, place.streams), port, headers=_KEY)


def _sglang(peer: Peer, place: Place) -> Launch:
    port = free_port()
    command = [peer.python, "-m", "sglang_router.launch_router", *_router_options(port, place)]
    return Launch([*command, "--prometheus-port", str(free_port()), "--log-level", "warn"], port, headers=_KEY)


def _vllm(peer: Peer, place: Place) -> Launch:
    port = free_port()
    command = [str(peer.home / "bin" / "vllm-router"), *_router_options(port, place)]
    return Launch([*command, "--prometheus-port", str(free_port()), "--log-level", "warning"], port, headers=_KEY)


def _router_options(port: int, place: Place) -> list[str]:
    """Of both Rust routers, which have one ancestor."""
    upstream = f"http://127.0.0.1:{place.upstream_port}"
    return ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", upstream, "--policy", "round_robin"]


def _litellm(peer: Peer, place: Place) -> Launch:
    port = free_port()
    model = {"model": "openai/chat", "api_base": f"http://127.0.0.1:{place.upstream_port}/v1", "api_key": "sk-test"}
    config = {
        "model_list": [{"model_name": "chat", "litellm_params": model}],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    place.directory.mkdir(parents=True, exist_ok=True)
    path = place.directory / "config.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    command = [str(peer.home / "bin" / "litellm"), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    environ = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    return Launch([*command, "--num_workers", "1"], port, headers=_KEY, environ=environ)


def _portkey(peer: Peer, place: Place) -> Launch:
    port = free_port()
    script = peer.home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    upstream = f"http://127.0.0.1:{place.upstream_port}/v1".encode()
    headers = b"%bx-portkey-provider: openai\r\nx-portkey-custom-host: %b\r\n" % (_KEY, upstream)
    return Launch(
        ["node", str(script), f"--port={port}", "--headless"], port, headers=headers, environ={"NODE_ENV": "production"}
    )


def _bifrost(_: Peer, place: Place) -> Launch:
    port = free_port()
    key = {"name": "bench", "value": "sk-test", "models": ["*"], "weight": 1.0}
    provider = {
        "keys": [key],
        "network_config": {"base_url": f"http://127.0.0.1:{place.upstream_port}", "allow_private_network": True},
        "concurrency_and_buffer_size": {"concurrency": 1024, "buffer_size": 4096},
    }
    config = {
        "client": {"drop_excess_requests": False, "enable_logging": False, "initial_pool_size": 1024},
        "providers": {"openai": provider},
        "config_store": {"enabled": False},
        "logs_store": {"enabled": False},
    }
    place.directory.mkdir(parents=True, exist_ok=True)
    (place.directory / "config.json").write_text(json.dumps(config))
    command = ["bifrost-http", "-host", "127.0.0.1", "-port", str(port), "-app-dir", str(place.directory)]
    return Launch([*command, "-log-level", "error"], port, "openai/chat", _KEY)


def _agentgateway(_: Peer, place: Place) -> Launch:
    port = free_port()
    backend = {
        "ai": {
            "name": "bench",
            "hostOverride": f"127.0.0.1:{place.upstream_port}",
            "provider": {"openAI": {"model": "chat"}},
        }
    }
    route = {"backends": [backend], "policies": {"backendAuth": {"key": "sk-test"}}}
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("adminAddr", "statsAddr", "readinessAddr")}
    config = {"config": addresses, "binds": [{"port": port, "listeners": [{"routes": [route]}]}]}
    place.directory.mkdir(parents=True, exist_ok=True)
    path = place.directory / "config.yaml"
    path.write_text(json.dumps(config))
    # Its runtime would otherwise have as many threads as the machine has cores.
    environ = {"RUST_LOG": "error", "TOKIO_WORKER_THREADS": "1"}
    return Launch(["agentgateway", "-f", str(path)], port, headers=_KEY, environ=environ)


PEERS = (
    Peer("nginx", "nginx, plain proxy", "nginx-light", "nginx", "", _nginx),
    Peer("sglang-router", "sglang-router", "pip", "sglang-router", "0.3.2", _sglang, rust=True),
    Peer("vllm-router", "vllm-router", "pip", "vllm-router", "0.1.17", _vllm, rust=True),
    Peer("litellm", "LiteLLM proxy", "pip", "litellm[proxy]", "1.102.4", _litellm),
    Peer("portkey", "Portkey gateway", "npm", "@portkey-ai/gateway", "1.15.2", _portkey),
    Peer("bifrost", "Bifrost", "", "bifrost-http", "", _bifrost, note=_UNTRIED),
    Peer("agentgateway", "agentgateway", "", "agentgateway", "", _agentgateway, note=_UNTRIED),
)


def _told_version(command: str) -> str:
    if command == "nginx":
        return instant.version() or "not there"
    for option in ("--version", "-version"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run([command, option], capture_output=True, text=True, check=True, timeout=10)
            return " ".join((told.stdout or told.stderr).split())[:60]
    return "version not told" if shutil.which(command) else "not there"


def _run(what: str, command: list[str]) -> None:
    """Run a step of an installation. Raises Unavailable, with the first errors that it printed."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr + error.stdout).splitlines() if "error" in line.lower()]
        raise Unavailable(f"`{what}` failed: {' '.join(lines[:2]) or 'no reason given'}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{what}` failed: {error}") from error
