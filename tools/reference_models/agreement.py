# mypy: disable-error-code="misc, untyped-decorator"
"""
Whether llama.cpp and Transformers give the same answers: `python -m tools.reference_models.agreement RUN`.

Drills of all kinds go greedily through both, the GGUF file against the folder, each cutting and rendering the chat by
what its own file says. Their tokens of the questions are compared with those of training too. Exits with 1 where
they differ more often than is allowed.
"""

import argparse
import json
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xllamacpp
from tools.reference_models import tokenizer
from tools.reference_models.gguf_file import PRECISIONS
from tools.reference_models.train import CHECKPOINT
from transformers import AutoModelForCausalLM, AutoTokenizer

from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import LEVELS, Message
from penstock.optimize.exam import Question, questions, right

_MAX_TOKENS = 160
_BATCH = 32


class Engine:
    """llama.cpp with one GGUF file, behind its own HTTP server on a free loopback port."""

    def __init__(self, base: str) -> None:
        self.base = base

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a chat that waits for its answer."""
        rendered = self._post("/apply-template", {"messages": _plain(messages)})["prompt"]
        body = {"content": rendered, "add_special": True, "parse_special": True}
        tokens: list[int] = self._post("/tokenize", body)["tokens"]
        return tokens

    def answers(self, asked: Sequence[Question]) -> list[str]:
        """Return the greedy answer to each question."""

        def ask(question: Question) -> str:
            body = {"messages": _plain(question.drill.messages), "max_tokens": _MAX_TOKENS, "temperature": 0}
            found: str = self._post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
            return found

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(ask, asked))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        data, kind = json.dumps(body).encode(), {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data, kind), timeout=60) as reply:
            found: dict[str, Any] = json.load(reply)
        return found


@contextmanager
def engine(path: Path) -> Iterator[Engine]:
    """Serve a GGUF file while the block lasts."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel = 4 * 1024, 4
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.use_jinja, params.verbosity = True, 0
    server = xllamacpp.Server(params)
    try:
        yield Engine(str(server.listening_address))
    finally:
        del server


class Hub:
    """Transformers with one folder."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a chat that waits for its answer."""
        rendered = self.tokenizer.apply_chat_template(_plain(messages), add_generation_prompt=True, tokenize=False)
        tokens: list[int] = self.tokenizer(rendered)["input_ids"]
        return tokens

    @torch.no_grad()
    def answers(self, asked: Sequence[Question]) -> list[str]:
        """Return the greedy answer to each question."""
        found: list[str] = []
        for first in range(0, len(asked), _BATCH):
            prompts = [self.prompt(each.drill.messages) for each in asked[first : first + _BATCH]]
            batch = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
            made = self.model.generate(**batch, max_new_tokens=_MAX_TOKENS, do_sample=False)
            replies = made[:, batch["input_ids"].shape[1] :]
            found += self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return found


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": each.role, "content": each.content} for each in messages]


def main() -> int:
    """Compare, print what was found, and say by the exit code whether it is enough."""
    parser = argparse.ArgumentParser(prog="agreement", description="Compare llama.cpp with Transformers.")
    parser.add_argument("run", type=Path, help="folder that `export` has written to")
    parser.add_argument("--seed", type=int, default=1, help="of the exam's questions (default 1)")
    parser.add_argument("--count", type=int, default=42, help="questions of each family and level (default 42)")
    parser.add_argument("--least", type=float, default=99.0, help="percent of equal answers (default 99)")
    args = parser.parse_args()
    name = torch.load(args.run / CHECKPOINT, map_location="cpu")["name"]
    asked = questions(list(FAMILIES), LEVELS, args.seed, args.count)
    trained = [tokenizer.encode_chat(each.drill.messages)[0] for each in asked]
    hub = Hub(args.run / name)
    enough = _same("tokens of the questions, folder", [hub.prompt(each.drill.messages) for each in asked], trained) == 1
    theirs = hub.answers(asked)
    print(f"right, folder: {_share_right(asked, theirs)}")
    for precision in PRECISIONS:
        with engine(args.run / f"{name}-{precision}.gguf") as served:
            prompts = [served.prompt(each.drill.messages) for each in asked]
            ours = served.answers(asked)
        enough &= _same(f"tokens of the questions, {precision}", prompts, trained) == 1
        print(f"right, {precision}: {_share_right(asked, ours)}")
        share = _same(f"answers of llama.cpp {precision} and Transformers", ours, theirs)
        if precision == "f16":
            enough &= share >= args.least / 100
    return 0 if enough else 1


def _same(what: str, ours: Sequence[object], theirs: Sequence[object]) -> float:
    """Print how many are equal and the first that are not; return their share."""
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    print(f"{what}: {len(ours) - len(different)} of {len(ours)} equal")
    for one, other in different[:3]:
        print(f"    {one!r}\n    {other!r}")
    return 1 - len(different) / len(ours)


def _share_right(asked: Sequence[Question], answers: Sequence[str]) -> str:
    count = sum(right(each.drill.answer, answer) for each, answer in zip(asked, answers, strict=True))
    return f"{count} of {len(asked)}"


if __name__ == "__main__":
    sys.exit(main())
