"""What a replica has read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.prefix import ENDS, Prefix, chain
from penstock.gateway.routing.prompts import Prompts, missing

_PROMPTS = st.lists(st.text("ab", max_size=12).map(lambda letters: tuple(_blocks(letters))), max_size=40)


def _blocks(letters: str) -> list[int]:
    """Return a block for each beginning of a text, as a chain has them."""
    return [hash(letters[: end + 1]) for end in range(len(letters))]


def _prefix(blocks: tuple[int, ...]) -> Prefix:
    return Prefix(blocks, ENDS[len(blocks)])


@given(_PROMPTS, st.integers(1, 30))
def test_it_knows_as_much_as_an_exact_search_finds_and_keeps_its_bound(sent: list[tuple[int, ...]], most: int) -> None:
    prompts = Prompts(most)
    for blocks in sent:
        prompts.add(_prefix(blocks))
        assert len(prompts) <= most
        assert prompts.known(_prefix(blocks)) == min(len(blocks), most)
        for each in sent:
            known = prompts.known(_prefix(each))
            assert known == max((end for end in range(len(each) + 1) if _has(prompts, each[:end])), default=0)


def _has(prompts: Prompts, blocks: tuple[int, ...]) -> bool:
    """Tell whether each block is known, whatever comes before it."""
    return all(prompts.known(_prefix((block,))) for block in blocks)


def test_the_least_lately_used_is_forgotten_first_and_from_its_end() -> None:
    prompts = Prompts(most=6)
    old, new = chain([b"o" * 512]), chain([b"n" * 512])
    prompts.add(old)
    prompts.add(new)
    assert (prompts.known(old), prompts.known(new)) == (2, 4)
    prompts.add(chain([b"o" * 256]))
    prompts.add(chain([b"x" * 256]))
    assert (prompts.known(old), prompts.known(new)) == (2, 2)


def test_what_is_new_of_a_prompt_is_counted_in_bytes() -> None:
    prompts = Prompts()
    assert prompts.add(chain([b"a" * 1000])) == 1000
    assert prompts.add(chain([b"a" * 1000 + b"b" * 1000])) == 2000 - 896
    assert missing(chain([b"a" * 100]), 0) == 100


def test_no_more_is_remembered_than_the_replica_keeps() -> None:
    prompts = Prompts()
    prompts.most_bytes = 1000
    one, two, long = chain([b"1" * 512]), chain([b"2" * 512]), chain([b"3" * 5000])
    prompts.add(one)
    prompts.add(two)
    assert (prompts.known(one), prompts.known(two)) == (3, 4)
    prompts.add(long)
    assert (prompts.known(one), prompts.known(two)) == (0, 0)
    assert prompts.known(long) == 7
    prompts.most_bytes = 0
    prompts.add(one)
    assert len(prompts) == 0
