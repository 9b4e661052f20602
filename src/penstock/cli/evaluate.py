"""`penstock evaluate`: let a model sit the exam, through the gateway like any client."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Event
from typing import Annotated, Any

import msgspec
import typer

from penstock.cli import output
from penstock.cli.client import Endpoint, Refused, complete
from penstock.cli.options import DataKeyOption, DataUrlOption, HomeOption, JsonOption, data
from penstock.cli.rows import read
from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import LEVELS, Level
from penstock.optimize.exam import Question, questions, right, wilson

_MAX_TOKENS = 160  # no answer of a drill is half as long
_TRIES = 6
_BUSY = (429, 503)
_FIRST_WAIT_S = 0.5  # doubled for each further try
_WRONG_SHOWN = 20


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Tokens(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Tokens | None = None


class _Mark(msgspec.Struct, frozen=True):
    """One question, what was replied to it, and what that cost; `cost_usd` is None where the server does not say."""

    question: Question
    reply: str
    right: bool
    tokens: _Tokens
    cost_usd: float | None


def evaluate(
    model: Annotated[str, typer.Argument(help="Which model sits the exam.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another exam.")] = 1,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Questions of each family and level.")] = 50,
    family: Annotated[
        list[str] | None, typer.Option(help=f"Only this family; may be repeated: {', '.join(FAMILIES)}.")
    ] = None,
    level: Annotated[str | None, typer.Option(help="Only this level: easy or hard.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Questions asked at the same time.")] = 8,
    home: HomeOption = None,
    url: DataUrlOption = None,
    key: DataKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Ask a model questions whose answers are known, and count the right ones.

    Any OpenAI-compatible endpoint can sit the exam: --url and --key. The same seed asks the same questions.
    """
    families = _known("family", family or list(FAMILIES), FAMILIES)
    wanted = _known("level", [level] if level else LEVELS, LEVELS)
    levels: list[Level] = [each for each in LEVELS if each in wanted]
    endpoint = data(home, url, key)
    asked = questions(families, levels, seed, count)
    with _progress(len(asked)) as step:
        marks = list(_asked(endpoint, model, asked, parallel, step))
    if as_json:
        output.emit_json({"model": model, "seed": seed, "count": count, **_as_data(marks)})
    else:
        _print(marks)


def _known(what: str, given: Sequence[str], known: Collection[str]) -> Sequence[str]:
    for each in given:
        if each not in known:
            raise typer.BadParameter(f"there is no {what} {each!r}; there are: {', '.join(known)}")
    return list(dict.fromkeys(given))


def _asked(
    endpoint: Endpoint, model: str, asked: Sequence[Question], parallel: int, step: Callable[[], None]
) -> Iterator[_Mark]:
    """Ask all questions, some at a time, and yield the marks in the order of the questions."""
    over = Event()

    def ask(question: Question) -> _Mark:
        """Ask, unless the exam is over; a failure ends it."""
        if over.is_set():
            raise CancelledError
        try:
            return _ask(endpoint, model, question, over)
        except BaseException:
            over.set()
            raise

    pool = ThreadPoolExecutor(parallel)
    try:
        running = [pool.submit(ask, question) for question in asked]
        for done in as_completed(running):
            if not isinstance(done.exception(), CancelledError):  # then another one failed
                done.result()
            step()
        yield from (each.result() for each in running)
    finally:
        over.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(endpoint: Endpoint, model: str, question: Question, over: Event) -> _Mark:
    """Ask one question, again after a while where the server is busy, unless the exam is over by then."""
    messages = [{"role": each.role, "content": each.content} for each in question.drill.messages]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": _MAX_TOKENS}
    for left in reversed(range(_TRIES)):
        try:
            answer, headers = complete(endpoint, body)
            break
        except Refused as error:
            if error.status not in _BUSY or not left:
                raise
            if over.wait(_FIRST_WAIT_S * 2 ** (_TRIES - 1 - left)):
                raise CancelledError from error
    completion = read(endpoint, answer, _Completion)
    reply = (completion.choices[0].message.content or "") if completion.choices else ""
    cost = _amount(headers.get("x-penstock-cost-usd"))
    return _Mark(question, reply, right(question.drill.answer, reply), completion.usage or _Tokens(), cost)


def _amount(written: str | None) -> float | None:
    """Return what a header says, None where it says nothing of use: any server may have sent it."""
    try:
        amount = float(written or "")
    except ValueError:
        return None
    return amount if 0 <= amount < math.inf else None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error while the block lasts, if that is a terminal; yields what moves it on."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _groups(marks: Sequence[_Mark]) -> Iterator[tuple[str, str, list[_Mark]]]:
    """Yield the marks of each family and level, then all of each level."""
    kinds = dict.fromkeys((mark.question.family, mark.question.level) for mark in marks)
    for family, level in kinds:
        yield family, level, [m for m in marks if (m.question.family, m.question.level) == (family, level)]
    for level in dict.fromkeys(level for _, level in kinds):
        yield "all", level, [m for m in marks if m.question.level == level]


def _row(marks: Sequence[_Mark]) -> dict[str, Any]:
    correct = sum(mark.right for mark in marks)
    costs = [mark.cost_usd for mark in marks]
    return {
        "right": correct,
        "total": len(marks),
        "share": correct / len(marks),
        "interval": list(wilson(correct, len(marks))),
        "input_tokens": sum(mark.tokens.prompt_tokens for mark in marks),
        "output_tokens": sum(mark.tokens.completion_tokens for mark in marks),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
    }


def _as_data(marks: Sequence[_Mark]) -> dict[str, Any]:
    wrong = [mark for mark in marks if not mark.right][:_WRONG_SHOWN]
    return {
        "results": [{"family": family, "level": level, **_row(found)} for family, level, found in _groups(marks)],
        "wrong": [
            {
                "family": mark.question.family,
                "level": mark.question.level,
                "messages": [msgspec.structs.asdict(each) for each in mark.question.drill.messages],
                "answer": mark.question.drill.answer,
                "reply": mark.reply,
            }
            for mark in wrong
        ],
    }


def _print(marks: Sequence[_Mark]) -> None:
    rows = []
    for family, level, found in _groups(marks):
        row = _row(found)
        low, high = row["interval"]
        cost = None if row["cost_usd"] is None else f"{row['cost_usd']:.9f}"
        share, interval = f"{100 * row['share']:.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %"
        tokens = f"{row['input_tokens']}+{row['output_tokens']}"
        rows.append((family, level, f"{row['right']}/{row['total']}", share, interval, tokens, cost))
    numbers = ("RIGHT", "SHARE", "95 % INTERVAL", "TOKENS", "USD")
    output.emit_table(["FAMILY", "LEVEL", *numbers], rows, right=numbers)
