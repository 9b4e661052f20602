import pytest

from penstock.gateway.routing.zone import Spill, spill


@pytest.mark.parametrize(
    ("tried", "usable", "reason"),
    [
        ((), {"a", "b", "x"}, Spill.FULL),
        (("a",), {"b", "x"}, Spill.FULL),
        ((), {"x"}, Spill.UNAVAILABLE),
        (("a",), {"a", "x"}, Spill.UNAVAILABLE),
        (("b", "a"), {"a", "b", "x"}, Spill.FAILED),
        (("x", "b", "a"), set(), Spill.FAILED),
    ],
)
def test_the_reason_is_what_the_targets_in_the_zone_lack(
    tried: tuple[str, ...], usable: set[str], reason: Spill
) -> None:
    assert spill(("a", "b"), tried, usable) is reason
