"""
Ask the model in the real engine and count right answers: `python -m tools.reference_models.evaluate mini.gguf`.

Fresh conversations of every task go through the engine's chat endpoint, greedily and with sampling, and a reply counts
only if it equals the one right answer. Also checks that the engine's tokens are those of training. Exits with 1 where
a task stays under the bar.
"""

import argparse
import json
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import xllamacpp
from tools.reference_models import tasks, tokenizer

SAMPLING: Final[dict[str, dict[str, float]]] = {
    "greedy": {"temperature": 0},
    "engine default": {},
    # What the OpenAI API does when a request says nothing: the whole distribution, unsharpened.
    "temperature 1": {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0},
}


@dataclass(frozen=True, slots=True)
class Result:
    """Right answers of one task under one sampling; `accuracy` in percent."""

    task: str
    sampling: str
    asked: int
    right: int
    accuracy: float
    wrong: list[str]


def post(base: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One JSON request to the engine."""
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def start(path: Path, context: int, slots: int) -> tuple[Any, str]:
    """The engine with this model on a free loopback port, and its address. It ends with the process."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.use_jinja = True
    params.verbosity = 0
    server = xllamacpp.Server(params)
    return server, str(server.listening_address)


def check_tokens(base: str, samples: list[tasks.Conversation]) -> list[str]:
    """Where template and tokenizer of the engine differ from those of training; empty when they agree."""
    faults = []
    for sample in samples:
        prompt = post(base, "/apply-template", {"messages": sample.messages()})["prompt"]
        ids = post(base, "/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"]
        expected, _ = tokenizer.encode_chat(sample.messages())
        if ids != expected:
            faults.append(f"{prompt!r}: engine {ids}, training {expected}")
    return faults


def measure(base: str, samples: list[tasks.Conversation], sampling: str, slots: int) -> tuple[int, list[str]]:
    """How many of the samples are answered right, and the first few that are not."""

    def ask(index: int) -> str:
        body = {"messages": samples[index].messages(), "max_tokens": 160, "seed": index, **SAMPLING[sampling]}
        reply: str = post(base, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
        return reply

    with ThreadPoolExecutor(slots) as pool:
        replies = list(pool.map(ask, range(len(samples))))
    missed = [(s, reply) for s, reply in zip(samples, replies, strict=True) if reply != s.answer]
    shown = [f"{s.question!r} -> {reply!r}, not {s.answer!r}" for s, reply in missed[:5]]
    return len(samples) - len(missed), shown


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="evaluate", description="Measure a GGUF model in the real engine.")
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the questions (default 1)")
    parser.add_argument("--count", type=int, default=500, help="questions per task and sampling (default 500)")
    parser.add_argument("--bar", type=float, default=90.0, help="percent each task has to reach (default 90)")
    parser.add_argument("--context", type=int, default=2048, help="tokens per sequence (default 2048)")
    parser.add_argument("--slots", type=int, default=8, help="sequences decoded together (default 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args()


def main() -> int:
    """Run everything, print it, and say by the exit code whether the bar was reached."""
    args = parse()
    server, base = start(args.gguf, args.context, args.slots)
    parts = {task: tasks.evaluation_samples(task, args.seed, args.count) for task in tasks.TASKS}
    parts["held-out pairs"] = tasks.evaluation_samples("arithmetic", args.seed, args.count, "held_out")
    began = time.monotonic()
    faults = [fault for samples in parts.values() for fault in check_tokens(base, samples[:50])]
    results = []
    for task, samples in parts.items():
        for sampling in SAMPLING:
            right, wrong = measure(base, samples, sampling, args.slots)
            results.append(Result(task, sampling, len(samples), right, round(100 * right / len(samples), 2), wrong))
    passed = not faults and all(result.accuracy >= args.bar for result in results)
    if args.json:
        print(json.dumps({"passed": passed, "token_faults": faults, "results": [asdict(result) for result in results]}))
    else:
        print(f"{'task':16}{'sampling':18}{'right':>8}{'asked':>8}{'percent':>10}")
        for result in results:
            print(f"{result.task:16}{result.sampling:18}{result.right:8}{result.asked:8}{result.accuracy:10.2f}")
            for line in result.wrong[:2]:
                print(f"    {line}")
        print(f"tokens as in training: {'yes' if not faults else faults[:3]}")
        print(
            f"{'passed' if passed else 'FAILED'}: bar {args.bar} %, seed {args.seed}, {time.monotonic() - began:.0f} s"
        )
    del server
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
