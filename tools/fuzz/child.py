"""
One target in a process of its own: libFuzzer, by way of atheris, or without atheris a plain mutator.

Started by `tools.fuzz`, which reads what this writes on standard error: libFuzzer's lines, or some of the same form.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

from tools.fuzz.target import Check, take_apart

WATCHED = ["penstock.http", "penstock.gateway.dialects", "h11"]
"""Packages whose branches guide the fuzzer. h11 is among them, since a difference can begin on either side."""

_LONGEST = 4096  # bytes of an input
_HANG_S = 20  # after which an input that does not come back ends the run
_MEMORY_MIB = 1500
_REPORT_S = 1.0
_FLOODING = 0.25


def main() -> None:
    """Fuzz until the time is over or something is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--findings", required=True, help="how the paths of saved inputs begin")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    given = parser.parse_args()
    (_plain if given.plain else _guided)(given)


def _rationed(check: Check) -> Check:
    """Leave floods out while they have taken more than their share of the time; they are slow."""
    begin, flooding = time.process_time(), 0.0

    def run(data: bytes) -> None:
        nonlocal flooding
        if not take_apart(data).flood:
            return check(data)
        started = time.process_time()
        if flooding > _FLOODING * (started - begin):
            return None
        check(data)
        flooding += time.process_time() - started
        return None

    return run


def _guided(given: argparse.Namespace) -> None:
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # has no types, may be missing

    with atheris.instrument_imports(include=WATCHED):
        from tools.fuzz.targets import TARGETS
    target = TARGETS[given.target]
    _fill(given.corpus, target.seeds())
    words = given.corpus.with_suffix(".words")
    words.write_text("".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word)}"\n' for word in target.words))
    loop = asyncio.new_event_loop()
    options = [
        f"-max_total_time={given.seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_HANG_S}",
        f"-report_slow_units={_HANG_S}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-artifact_prefix={given.findings}",
        f"-dict={words}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(given.corpus)], _rationed(target.open(loop)))
    atheris.Fuzz()


def _plain(given: argparse.Namespace) -> None:
    """Mutate seeds blindly. Finds less, but needs nothing that is not installed."""
    from tools.fuzz.targets import TARGETS

    target = TARGETS[given.target]
    check = _rationed(target.open(asyncio.new_event_loop()))
    seeds, runs, begin = target.seeds(), 0, time.monotonic()
    told = begin
    while (now := time.monotonic()) < begin + given.seconds:
        data = seeds[runs] if runs < len(seeds) else _mutated(seeds, target.words)
        try:
            check(data)
        except Exception:  # noqa: BLE001  whatever comes out is the finding
            path = Path(f"{given.findings}crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}")
            path.write_bytes(data)
            traceback.print_exc()
            sys.exit(77)
        runs += 1
        if now - told > _REPORT_S:
            told = now
            print(f"#{runs} pulse exec/s: {int(runs / (now - begin))}", file=sys.stderr, flush=True)
    print(f"stat::number_of_executed_units: {runs}", file=sys.stderr, flush=True)


def _mutated(seeds: list[bytes], words: tuple[bytes, ...]) -> bytes:
    data = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 6)):
        at, size = random.randrange(len(data) + 1), random.randint(1, 8)
        match random.randrange(5):
            case 0:
                data[at:at] = random.choice(words)
            case 1:
                del data[at : at + size]
            case 2:
                data[at : at + 1] = random.randbytes(1)
            case 3:
                data[at:at] = data[at : at + 4 * size]
            case _:
                other = random.choice(seeds)
                data[at:] = other[random.randrange(len(other) + 1) :]
    return bytes(data[:_LONGEST])


def _fill(corpus: Path, seeds: list[bytes]) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
