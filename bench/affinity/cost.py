"""What a choice costs, in µs of CPU: hashing a prompt, choosing, and noting where it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.gateway.routing.latency import Latency
from penstock.gateway.routing.prefix import Prefix, chain
from penstock.gateway.routing.prompts import Prompts
from penstock.gateway.routing.rendezvous import seed_of
from penstock.gateway.routing.ways import WAYS
from penstock.snapshot.config import Balance

_SIZES = (256, 1024, 4096, 16_384, 65_536, 1_048_576)
_REPLICAS = (4, 10)
_ROUNDS = 15
_TIMES = 200


@dataclass(eq=False)
class _Replica:
    name: str
    seats: int = 8
    outstanding: int = 1
    latency: Latency = field(default_factory=Latency)
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0

    def __post_init__(self) -> None:
        self.seed = seed_of(self.name)


@dataclass
class _Ask:
    prefix: Prefix
    turn: int = 7
    now: float = 100.0
    workers: int = 2
    session: int | None = 7


def _least_us(action: Callable[[], object]) -> float:
    """Return the least of some rounds: what else the machine does only adds to it, by its caches."""
    least = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_TIMES):
            action()
        least = min(least, time.process_time() - began)
    return least / _TIMES * 1e6


def measure() -> dict[str, dict[str, float]]:
    """Return µs: of hashing and of noting a prompt by its bytes, and of choosing by each way and number of replicas."""
    hashing, noting = dict[str, float](), dict[str, float]()
    for size in _SIZES:
        text = bytes(size)
        prompts, prompt = Prompts(), chain([text])
        hashing[str(size)] = _least_us(lambda text=text: chain([text]))  # type: ignore[misc]  # mypy wants no default
        noting[str(size)] = _least_us(lambda prompts=prompts, prompt=prompt: prompts.add(prompt))  # type: ignore[misc]  # as above
    found = {"hashing": hashing, "noting": noting}
    for count in _REPLICAS:
        replicas, ask = [_Replica(f"mini/{number}") for number in range(count)], _Ask(chain([bytes(16_384)]))
        for replica in replicas:
            replica.prompts.add(ask.prefix)
            replica.latency.add(0.1, 99.0)
        found[f"choosing of {count}"] = {
            way: _least_us(lambda way=way, there=replicas, ask=ask: WAYS[way](there, ask))  # type: ignore[misc]  # as above
            for way in Balance
        }
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Return it as Markdown."""
    lines = ["| prompt, bytes | hashing it, µs | noting it, µs |", "|---|---|---|"]
    for size, hashing in found["hashing"].items():
        lines.append(f"| {int(size):,} | {hashing:.1f} | {found['noting'][size]:.1f} |")
    lines += ["", f"| choosing, µs | {' | '.join(f'of {count}' for count in _REPLICAS)} |", "|---|---|---|"]
    for way in Balance:
        cells = " | ".join(f"{found[f'choosing of {count}'][way]:.1f}" for count in _REPLICAS)
        lines.append(f"| `{way}` | {cells} |")
    return "\n".join(lines)
