from __future__ import annotations

import pytest

from penstock.gateway.translation.gpt import takes_effort


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("gpt-4o", False),
        ("gpt-4.1-nano-2025-04-14", False),
        ("gpt-4", False),
        ("gpt-3.5-turbo", False),
        ("gpt-35-turbo-16k", False),
        ("chatgpt-4o-latest", False),
        ("openai/gpt-4o-mini", False),
        ("ft:gpt-4o-mini-2024-07-18:us::x", False),
        ("gpt-5", True),
        ("gpt-5.2-2025-12-11", True),
        ("gpt-45", True),
        ("o3-mini", True),
        ("openai/gpt-oss-120b", True),
        ("my-gpt-4-like", True),
        ("mini", True),
        ("", True),
    ],
)
def test_only_gpts_that_never_think_are_not_told_how_much(model: str, takes: bool) -> None:
    assert takes_effort(model) is takes
