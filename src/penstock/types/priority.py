"""Which exchanges go first where not all can."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """The classes in the order in which they are served; one waits as long as anybody in a class before it does."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @property
    def word(self) -> str:
        """As it is written in the stack file, in a header and on a label."""
        return self.name.lower()


BY_WORD = {priority.word: priority for priority in Priority}
