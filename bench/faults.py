"""
`make bench-faults`: what clients notice when one of three deployments of a model fails, in every way that is known.

Each fault is met by plain requests and by streams, over a model with three targets of equal weight of which one is at
fault; they speak the client's dialect, or another one. Added latency is against the same requests with no fault at all;
the time-outs of the models are short, so that a silence is told from a slow answer soon.
`tests/gateway/test_faults.py` asserts what is promised, over the same faults.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from bench.client import OK, Client, chat_body, pool
from bench.stack import footer, lab, machine, penstock, write
from penstock.lab.running import free_port

FIRST_TOKEN_S, TOTAL_S = 1.0, 4.5
NO_HOST = "a" * 70 + ".invalid"  # no resolver is asked for a label that long
KINDS = {"plain": False, "stream": True, "plain, translated": False, "stream, translated": True}
"""Of requests; True for streams. Translated ones go to upstreams that speak another dialect than the client."""
_BURSTS = [number for number in range(1, 200) if (number - 1) // 8 % 2 == 0]
_PROMPT = "one two three"


class Fault(msgspec.Struct, frozen=True):
    """
    Attributes:
        order: what the lab is to do wrong, as in a script's rule.
        rule: which requests it does that to; empty is all.
        where: `lab`, or where else the deployment is said to be: `refused`, `dns`, `tls`.
        together: requests at the same time; some for what takes its time.
        hidden: a client notices nothing of it.
        kinds: of requests that can meet it: False for plain ones, True for streams.
    """

    name: str
    order: Mapping[str, object] = {}
    rule: Mapping[str, object] = {}
    where: str = "lab"
    together: int = 1
    hidden: bool = True
    kinds: tuple[bool, ...] = (False, True)


FAULTS = (
    Fault("none"),
    Fault("refused", where="refused"),
    Fault("reset", {"cut": "before_head", "cut_with": "rst"}),
    Fault("reset in the body", {"cut": "in_event", "cut_with": "rst", "cut_after": 0}),
    Fault("stall before the first byte", {"stall": "before_head"}, together=5),
    Fault("stall after the first byte", {"stall": "after_events", "stall_after": 0}, together=5),
    Fault("stall after content", {"stall_after": 1, "events": 5}, together=5, hidden=False, kinds=(True,)),
    Fault("429 with Retry-After", {"status": 429, "retry_after": "30"}),
    Fault("429 without", {"status": 429}),
    Fault("503 with Retry-After", {"status": 503, "retry_after": "30"}),
    Fault("500 storm", {"status": 500}),
    Fault("nonsense", {"body": "html"}),
    Fault("slow start", {"delay": "60s"}, {"times": 4}, together=5),
    Fault("flapping", {"status": 502}, {"nth": _BURSTS}),
    Fault("DNS failure", where="dns"),
    Fault("TLS failure", where="tls"),
)


class Asked(msgspec.Struct, frozen=True):
    """One request as its client saw it."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    seconds: float

    @property
    def id(self) -> str:
        """The request's id."""
        return self.headers[b"x-request-id"].decode()

    @property
    def attempts(self) -> int:
        """How many attempts it took, as its answer says."""
        return int(self.headers.get(b"x-penstock-attempts", b"1"))

    @property
    def good(self) -> bool:
        """The answer is whole."""
        streamed = b"text/event-stream" in self.headers.get(b"content-type", b"")
        return self.status == OK and (not streamed or self.body.rstrip().endswith(b"[DONE]"))


def rules(fault: Fault, model: str) -> list[dict[str, object]]:
    """Return the lab's rules for requests to the deployment at fault, which it knows by its model's name."""
    return [{"model": model, "order": dict(fault.order), **fault.rule}] if fault.order else []


async def ask(client: Client, model: str, *, stream: bool, count: int, together: int = 1) -> list[Asked]:
    """Make so many requests, some at the same time; return what came of each."""
    body = chat_body(_PROMPT, model=model, stream=stream)
    left = iter(range(count))
    asked: list[Asked] = []

    async def caller() -> None:
        for _ in left:
            began = time.monotonic()
            status, headers, content = await client.exchange(body)
            asked.append(Asked(status, dict(headers), content, time.monotonic() - began))

    await asyncio.gather(*(caller() for _ in range(together)))
    return asked


async def ask_all(url: str, key: str, models: Mapping[str, tuple[Fault, bool]], count: int) -> dict[str, list[Asked]]:
    """Ask every model at the same time, whole or streamed."""
    async with pool(url, 1000) as connections:
        client = Client(connections, key)
        found = await asyncio.gather(
            *(
                ask(client, model, stream=stream, count=count, together=fault.together)
                for model, (fault, stream) in models.items()
            )
        )
    return dict(zip(models, found, strict=True))


def _name(number: int, kind: str) -> str:
    return f"m{number}-{kind.replace(', ', '-')}"


def _stack(upstream: str, models: Mapping[str, tuple[Fault, bool]]) -> str:
    port = int(upstream.rpartition(":")[2])
    bases = {
        "lab": f"{upstream}/v1",
        "refused": f"http://127.0.0.1:{free_port()}/v1",
        "dns": f"http://{NO_HOST}:{port}/v1",
        "tls": f"https://127.0.0.1:{port}/v1",
    }
    ports = [free_port() for _ in range(3)]
    lines = ["version: 1", f"gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}}}"]
    lines += [f"admin: {{listen: 127.0.0.1:{ports[2]}}}", "deployments:"]
    for model, (fault, _) in models.items():
        provider = 'anthropic, api_key: "${LAB_KEY}"' if model.endswith("translated") else "openai"
        for name, where in ((f"{model}-bad", fault.where), (f"{model}-b", "lab"), (f"{model}-c", "lab")):
            fields = f'provider: {provider}, base_url: "{bases[where]}", model: {name}, price: {{input: 1, output: 2}}'
            lines.append(f"  {name}: {{{fields}}}")
    lines.append("models:")
    for model in models:
        timeout = f"timeout: {{first_token: {FIRST_TOKEN_S:g}s, total: {TOTAL_S:g}s}}"
        lines.append(f"  {model}: {{targets: [{model}-bad, {model}-b, {model}-c], {timeout}}}")
    return "\n".join(lines) + "\n"


def measure(count: int) -> dict[str, Any]:
    """Let clients meet every fault; return what they saw, by fault and kind of request."""
    models = {
        _name(number, kind): (fault, stream)
        for number, fault in enumerate(FAULTS)
        for kind, stream in KINDS.items()
        if stream in fault.kinds
    }
    with lab() as (upstream, _):
        script = [rule for model, (fault, _) in models.items() for rule in rules(fault, f"{model}-bad")]
        httpx.post(f"{upstream}/lab/script", content=json.dumps(script)).raise_for_status()
        with penstock(_stack(upstream, models), environ={"LAB_KEY": "any"}) as running:
            # Without anything else at the same time first: what a fault adds is to be its own.
            asked = {}
            for model, met in models.items():
                asked.update(asyncio.run(ask_all(running.url, running.key, {model: met}, count)))
    figures: dict[str, Any] = {"machine": machine(), "count": count, "faults": {}}
    for kind, stream in KINDS.items():
        base = _median_ms(asked[_name(0, kind)])
        for number, fault in enumerate(FAULTS):
            if stream in fault.kinds:
                figures["faults"].setdefault(fault.name, {})[kind] = _figures(asked[_name(number, kind)], base)
    return figures


def _median_ms(asked: Sequence[Asked]) -> float:
    return statistics.median(each.seconds for each in asked) * 1000


def _figures(asked: Sequence[Asked], base_ms: float) -> dict[str, float]:
    times = sorted(each.seconds * 1000 for each in asked)
    return {
        "good": sum(each.good for each in asked) / len(asked),
        "attempts": sum(each.attempts for each in asked) / len(asked),
        "added_p50_ms": round(_median_ms(asked) - base_ms, 2),
        "added_mean_ms": round(statistics.fmean(times) - base_ms, 2),
        "added_max_ms": round(times[-1] - base_ms, 1),
    }


def summary(figures: Mapping[str, Any]) -> str:
    """Return the table."""
    lines = [
        f"One of three deployments at fault, {figures['count']} requests of each kind: how many were answered well,",
        "attempts for each, and the latency added to the median without a fault: median, mean, worst.",
        "",
        f"| fault | {' | '.join(KINDS)} |",
        f"|---|{'---|' * len(KINDS)}",
    ]
    for name, kinds in figures["faults"].items():
        cells = [_cell(kinds[kind]) if kind in kinds else "" for kind in KINDS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", footer("make bench-faults")])


def _cell(found: Mapping[str, float]) -> str:
    added = f"{found['added_p50_ms']:.1f}, {found['added_mean_ms']:.0f}, {found['added_max_ms']:.0f} ms"
    return f"{found['good']:.1%}; {found['attempts']:.2f}; {added}"


def main() -> int:
    """Entry of `python -m bench.faults`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="requests of each kind")
    given = parser.parse_args()
    figures = measure(given.count)
    write("faults", figures, summary(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
