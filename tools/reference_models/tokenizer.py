"""
A small byte-pair vocabulary in the form of GPT-2's, which llama.cpp reads and applies itself.

Ids: 0..255 are bytes, then come the merges of `merges.txt` in order, then the control tokens. Digits are never merged,
so each is one token of its own. Any text can be encoded; there is no unknown token. The merges are learned once, from
training drills: `python -m tools.reference_models.tokenizer` writes them anew.
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Final

from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import LEVELS, Message, draw, source

MERGES_FILE: Final = Path(__file__).with_name("merges.txt")
MERGES_COUNT: Final = 508

END: Final = "<|end|>"
SYSTEM: Final = "<|system|>"
USER: Final = "<|user|>"
ASSISTANT: Final = "<|assistant|>"
CONTROL: Final = (END, SYSTEM, USER, ASSISTANT)
CONTROL_IDS: Final = {text: 256 + MERGES_COUNT + index for index, text in enumerate(CONTROL)}
SIZE: Final = 256 + MERGES_COUNT + len(CONTROL)

CHAT_TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{%- if message['role'] in ['system', 'developer'] -%}{{ '<|system|>' }}"
    "{%- elif message['role'] == 'assistant' -%}{{ '<|assistant|>' }}"
    "{%- else -%}{{ '<|user|>' }}{%- endif -%}"
    "{%- if message['content'] is string -%}{{ message['content'] | trim }}"
    "{%- elif message['content'] -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part is string -%}{{ part }}{%- elif part['text'] -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{ '<|end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
"""Jinja for `tokenizer.chat_template`: missing content is empty, a list of parts is its texts."""

# GPT-2 cuts text into these pieces before it merges within each; `[^\W\d_]` is a letter and `\d` a digit.
PIECES: Final = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def _spelling() -> tuple[str, ...]:
    """How GPT-2 vocabularies spell each byte: those that do not print are moved up to U+0100 and beyond."""
    spelled, moved = [], 0
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE:
            spelled.append(chr(byte))
        else:
            spelled.append(chr(256 + moved))
            moved += 1
    return tuple(spelled)


SPELLING: Final = _spelling()


@functools.cache
def merges() -> tuple[tuple[str, str], ...]:
    """Pairs of spelled tokens, those merged first in front."""
    lines = MERGES_FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) == MERGES_COUNT, f"{MERGES_FILE.name} holds {len(lines)} merges"
    return tuple((left, right) for left, right in (line.split(" ") for line in lines))


def digest() -> str:
    """Return what tells this vocabulary from another one, whose models do not fit."""
    return blake2b("\n".join(tokens()).encode(), digest_size=8).hexdigest()


@functools.cache
def tokens() -> tuple[str, ...]:
    """The spelled text of each id."""
    return (*SPELLING, *(left + right for left, right in merges()), *CONTROL)


@functools.cache
def _ranks() -> dict[tuple[str, str], int]:
    return {pair: rank for rank, pair in enumerate(merges())}


@functools.cache
def _ids() -> dict[str, int]:
    return {text: index for index, text in enumerate(tokens())}


@functools.lru_cache(maxsize=100_000)
def _piece(text: str) -> tuple[int, ...]:
    """Ids of one piece: its bytes, the earliest learned pair joined first, until no pair is left."""
    parts = [SPELLING[byte] for byte in text.encode()]
    while len(parts) > 1:
        rank, at = min((_ranks().get(pair, MERGES_COUNT), at) for at, pair in enumerate(pairwise(parts)))
        if rank == MERGES_COUNT:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return tuple(_ids()[part] for part in parts)


def encode(text: str) -> list[int]:
    """Ids of plain text; control tokens are not looked for."""
    return [token for piece in PIECES.findall(text) for token in _piece(piece)]


def decode(ids: list[int]) -> str:
    """The text of ids; control tokens show under their names."""
    bytes_of = {spelled: byte for byte, spelled in enumerate(SPELLING)}
    found = bytearray()
    for token in ids:
        text = tokens()[token]
        found += text.encode() if token >= 256 + MERGES_COUNT else bytes(bytes_of[mark] for mark in text)
    return found.decode(errors="replace")


def encode_chat(messages: Sequence[Message], answer: str | None = None) -> tuple[list[int], list[bool]]:
    """
    Ids of a chat as `CHAT_TEMPLATE` renders it and the engine tokenizes it.

    Args:
        messages: the turns.
        answer: the reply that follows; None leaves the chat open for the model to answer.
    Returns:
        Ids, and for each whether it is part of a reply (its `END` included), that is, to be learned.
    """
    turns = messages if answer is None else [*messages, Message("assistant", answer)]
    ids: list[int] = []
    learned: list[bool] = []
    for turn in turns:
        body = [*encode(turn.content.strip()), CONTROL_IDS[END]]
        ids += [CONTROL_IDS[f"<|{turn.role}|>"], *body]
        learned += [False, *[turn.role == "assistant"] * len(body)]
    if answer is None:
        ids.append(CONTROL_IDS[ASSISTANT])
        learned.append(False)
    return ids, learned


def learn(words: Counter[str], count: int) -> list[tuple[str, str]]:
    """The `count` most frequent pairs, each joined before the next is counted; ties go by spelling."""
    spelled = {word: [SPELLING[byte] for byte in word.encode()] for word in words}
    found: list[tuple[str, str]] = []
    while len(found) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in spelled.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        for parts in spelled.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [parts[at] + parts[at + 1]]
                at += 1
    return found


def main() -> None:
    """Learn the merges from training drills of all families but one, and write them."""
    texts: list[str] = []
    for name, family in FAMILIES.items():
        if name == "strings":
            continue  # its made-up words stay in short pieces: what is spelled letter by letter is best read so
        for level in LEVELS:
            chance = source("train", 0, "words", name, level)
            for _ in range(4_000):
                drill = draw(family.at(level), "train", chance)
                texts += [*(message.content for message in drill.messages), drill.answer]
    pieces = Counter(piece for text in texts for piece in PIECES.findall(text) if not re.search(r"\d", piece))
    lines = [f"{left} {right}\n" for left, right in learn(pieces, MERGES_COUNT)]
    MERGES_FILE.write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} merges learned from {len(pieces)} different pieces")


if __name__ == "__main__":
    main()
