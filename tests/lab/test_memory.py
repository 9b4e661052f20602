from penstock.lab.asked import Asked
from penstock.lab.memory import MOST, Memory
from penstock.types.errors import InvalidRequest


def known(memory: Memory, name: str) -> bool:
    try:
        memory.recall(Asked(previous=name))
    except InvalidRequest:
        return False
    return True


def test_only_the_last_responses_are_kept() -> None:
    memory = Memory()
    for number in range(MOST + 1):
        memory.keep(f"resp_{number}", Asked(stored=True))
    assert [known(memory, f"resp_{number}") for number in (0, 1, MOST)] == [False, True, True]
