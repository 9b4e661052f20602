from pathlib import Path
from urllib.parse import quote

from penstock.control.keys import Scope
from penstock.journal.records import Outcome
from tests.control.admin.api import Api, error_of, with_api
from tests.records.exchanges import AT, opened, settled

USAGE = "/admin/v1/usage"
NOTHING = {
    "requests": 0,
    "errors": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
    "unpriced": 0,
    "cost_nano": 0,
    "cost_usd": "0.000000000",
}


def figures(requests: int, errors: int, cost_nano: int, cost_usd: str) -> dict[str, object]:
    return {
        "requests": requests,
        "errors": errors,
        "input_tokens": 10 * requests,
        "output_tokens": 5 * requests,
        "cache_read_tokens": 2 * requests,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "unpriced": 0,
        "cost_nano": cost_nano,
        "cost_usd": cost_usd,
    }


def test_nothing_was_used_at_first(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        listings = ("by_day", "by_tenant", "by_key", "by_user", "by_model", "by_deployment", "by_tag")
        assert await api.get(USAGE) == {"totals": NOTHING, **{name: [] for name in listings}}

    with_api(tmp_path, case)


def test_everything_answered_so_far_is_counted_at_once(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        key, _ = await api.keys.create("ci", Scope("other"))
        for number in range(1, 4):
            api.write(opened(number), settled(number))
            assert (await api.get(USAGE))["totals"]["requests"] == number
        api.write(
            settled(4, model="large", outcome=Outcome.FAILED, cost_nano=1_000_000_001),
            settled(5, key=key.id, tenant="other", user="other/bob", tags="team=search"),
            settled(6, outcome=Outcome.REFUSED, status=401),
            opened(7),
        )
        assert await api.get(USAGE) == {
            "totals": figures(5, 1, 1_000_001_201, "1.000001201"),
            "by_day": [{"day": "2023-11-14", **figures(5, 1, 1_000_001_201, "1.000001201")}],
            "by_tenant": [
                {"tenant": "acme", **figures(4, 1, 1_000_000_901, "1.000000901")},
                {"tenant": "other", **figures(1, 0, 300, "0.000000300")},
            ],
            "by_key": [
                {"key": "key1", "name": "", "tenant": "acme", **figures(4, 1, 1_000_000_901, "1.000000901")},
                {"key": key.id, "name": "ci", "tenant": "other", **figures(1, 0, 300, "0.000000300")},
            ],
            "by_user": [
                {"user": "", "tenant": "acme", **figures(4, 1, 1_000_000_901, "1.000000901")},
                {"user": "other/bob", "tenant": "other", **figures(1, 0, 300, "0.000000300")},
            ],
            "by_tag": [{"tag": "team=search", **figures(1, 0, 300, "0.000000300")}],
            "by_model": [
                {"model": "large", **figures(1, 1, 1_000_000_001, "1.000000001")},
                {"model": "chat", **figures(4, 0, 1200, "0.000001200")},
            ],
            "by_deployment": [{"deployment": "mini", **figures(5, 1, 1_000_001_201, "1.000001201")}],
        }

    with_api(tmp_path, case)


def test_usage_can_be_narrowed(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        hour = 3_600 * 10**9
        api.write(
            settled(1, at_ns=AT),
            settled(2, at_ns=AT + hour, model="large", user="acme/ann", tags="env=prod,team=search"),
            settled(3, at_ns=AT + 2 * hour, key="key2", tenant="other"),
        )
        expected = {
            "since=2023-11-14T23:13:20Z": 2,
            "since=2023-11-14T23:13:20": 2,
            f"since={quote('2023-11-15T00:13:20+01:00')}": 2,
            "since=1700003600": 2,
            "until=2023-11-14T23:13:20Z": 1,
            "since=2023-11-14T23:13:20Z&until=2023-11-15T00:13:20Z": 1,
            "key=key2": 1,
            "model=large": 1,
            "tenant=acme": 2,
            "tenant=nobody": 0,
            "deployment=mini": 3,
            "limit=1": 3,
            "user=acme/ann": 1,
            "tag=team%3Dsearch": 1,
            "tag=env%3Dprod&model=large": 1,
            "tag=env%3Dprod&model=chat": 0,
            "tag=team%3Dsearch&since=2023-11-14T23:13:20Z": 1,
            "tag=team": 0,
            "key=%27%20OR%201%3D1%20--": 0,
        }
        for query, requests in expected.items():
            assert (await api.get(f"{USAGE}?{query}"))["totals"]["requests"] == requests, query
        first = await api.get(f"{USAGE}?limit=1")
        assert [row["model"] for row in first["by_model"]] == ["chat"], "the dearest"
        assert [len(rows) for name, rows in first.items() if name != "totals"] == [1] * 7

    with_api(tmp_path, case)


def test_what_has_no_known_price_is_counted_apart(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(settled(1), settled(2, cost_nano=0, cost_known=False, deployment="far"))
        found = await api.get(USAGE)
        assert (found["totals"]["requests"], found["totals"]["unpriced"], found["totals"]["cost_nano"]) == (2, 1, 300)
        assert [(row["deployment"], row["unpriced"]) for row in found["by_deployment"]] == [("mini", 0), ("far", 1)]

    with_api(tmp_path, case)


def test_a_bad_query_is_refused(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for query in ("since=yesterday", "until=", f"key={'x' * 257}", "since=99999999999999999999", "limit=0"):
            response = await api.local.get(f"{USAGE}?{query}")
            assert response.status_code == 400
            assert error_of(response)["param"] == query.partition("=")[0]

    with_api(tmp_path, case)
