from pathlib import Path

from penstock.journal.records import Outcome
from penstock.types.usage import Usage, UsageSource
from tests.control.admin.api import Api, error_of, with_api
from tests.records.exchanges import AT, opened, settled

REQUESTS = "/admin/v1/requests"


def test_an_exchange_is_explained_as_soon_as_it_is_settled(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        used = Usage(10, 5, 2, UsageSource.UPSTREAM, 3, 1, 4, 6, 2, batch=True)
        named = {"price": "stack 1f3a9c2b", "user": "acme/ann", "tags": "env=prod,team=search"}
        api.write(opened(1), settled(1, cost_nano=12_500, usage=used, **named))
        assert await api.get(f"{REQUESTS}/req-000001") == {
            "id": "req-000001",
            "at": "2023-11-14T22:13:20Z",
            "key": "key1",
            "tenant": "acme",
            "model": "chat",
            "operation": "chat",
            "stream": False,
            "deployment": "mini",
            "status": 200,
            "outcome": "answered",
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_tokens": 2,
            "cache_write_tokens": 3,
            "cache_write_1h_tokens": 1,
            "reasoning_tokens": 4,
            "audio_input_tokens": 6,
            "audio_output_tokens": 2,
            "batch": True,
            "usage_source": "upstream",
            "cost_nano": 12_500,
            "cost_usd": "0.000012500",
            "price": "stack 1f3a9c2b",
            "user": "acme/ann",
            "tags": {"env": "prod", "team": "search"},
            "duration_ms": 12.5,
            "first_content_ms": 3.25,
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "error": "",
            "explanation": [
                {"step": "identity", "decision": "key key1"},
                {"step": "route", "decision": "chat: mini — least outstanding"},
            ],
        }

    with_api(tmp_path, case)


def test_a_cost_that_nobody_knows_is_null_and_not_zero(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(settled(1, cost_nano=0, cost_known=False), settled(2, cost_nano=0))
        unknown, free = [await api.get(f"{REQUESTS}/req-00000{number}") for number in (1, 2)]
        assert (unknown["cost_nano"], unknown["cost_usd"], unknown["price"], unknown["tags"]) == (None, None, "", {})
        assert (free["cost_nano"], free["cost_usd"]) == (0, "0.000000000")

    with_api(tmp_path, case)


def test_an_exchange_that_is_open_or_unknown_is_not_found(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(opened(1))
        for request in ("req-000001", "nothing", "x" * 256):
            response = await api.local.get(f"{REQUESTS}/{request}")
            assert response.status_code == 404
            error_of(response)
        assert (await api.local.get(f"{REQUESTS}/{'x' * 257}")).status_code == 400

    with_api(tmp_path, case)


def test_refused_exchanges_are_explained_too(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(settled(1, outcome=Outcome.REFUSED, status=404, error="no such model"))
        assert (await api.get(f"{REQUESTS}/req-000001"))["error"] == "no such model"
        assert len((await api.get(REQUESTS))["requests"]) == 1

    with_api(tmp_path, case)


def test_a_listing_is_newest_first_and_comes_in_pages(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(*(settled(number, at_ns=AT + number // 2) for number in range(7)))
        seen: list[str] = []
        before = ""
        while True:
            page = await api.get(f"{REQUESTS}?limit=3{before}")
            seen += [one["id"] for one in page["requests"]]
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        assert seen == [f"req-{number:06d}" for number in range(6, -1, -1)]
        assert (await api.local.get(f"{REQUESTS}?limit=0")).status_code == 400

    with_api(tmp_path, case)
