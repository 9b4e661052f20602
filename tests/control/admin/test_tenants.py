from __future__ import annotations

from pathlib import Path

from penstock.snapshot.file import Reader
from penstock.snapshot.principals import KeyRecord, Principals
from tests.control.admin.api import Api, error_of, with_api

KEYS, TENANTS = "/admin/v1/keys", "/admin/v1/tenants"


def published(api: Api) -> dict[str, KeyRecord]:
    principals = Reader(api.home.snapshot, Principals).changed()
    assert principals is not None
    return {name: record for name, record in principals.keys.items() if record is not None}


async def make(api: Api, **wanted: object) -> str:
    response = await api.local.post(KEYS, json=wanted)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_a_key_makes_its_tenant_and_a_tenant_is_there_once(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        await make(api, tenant="acme")
        (shown,) = (await api.get(TENANTS))["tenants"]
        assert (shown["id"], shown["models"], shown["suspended_at"]) == ("acme", None, None)
        again = await api.local.post(TENANTS, json={"id": "acme"})
        assert again.status_code == 409
        error_of(again)
        assert (await api.local.post(TENANTS, json={"id": "other", "models": ["base"]})).status_code == 201
        assert (await api.get(f"{TENANTS}/other"))["models"] == ["base"]

    with_api(tmp_path, case)


def test_what_a_tenant_may_use_bounds_its_keys_at_once(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        everything, some = await make(api, tenant="acme"), await make(api, tenant="acme", models=["mini", "base"])
        other = await make(api, tenant="other")
        assert (await api.local.patch(f"{TENANTS}/acme", json={"models": ["mini"]})).status_code == 200
        records = published(api)
        assert (records[everything].models, records[some].models, records[other].models) == (("mini",), ("mini",), None)
        late = await make(api, tenant="acme")
        assert published(api)[late].models == ("mini",)
        assert (await api.local.patch(f"{TENANTS}/acme", json={"models": None})).status_code == 200
        records = published(api)
        assert (records[everything].models, records[some].models) == (None, ("mini", "base"))

    with_api(tmp_path, case)


def test_a_suspended_tenant_is_let_in_nowhere_until_it_is_again(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        key, other = await make(api, tenant="acme"), await make(api, tenant="other")
        admin = (await api.local.post(KEYS, json={"kind": "admin", "tenant": "acme"})).json()["key"]
        bearer = {"authorization": f"Bearer {admin}"}
        assert (await api.tcp.get(KEYS, headers=bearer)).status_code == 200
        shown = (await api.local.patch(f"{TENANTS}/acme", json={"suspended": True})).json()
        assert shown["suspended_at"] is not None
        assert published(api).keys() == {other}
        assert (await api.tcp.get(KEYS, headers=bearer)).status_code == 401
        late = await make(api, tenant="acme")
        assert published(api).keys() == {other}
        assert (await api.local.patch(f"{TENANTS}/acme", json={"suspended": False})).status_code == 200
        assert published(api).keys() == {key, other, late}
        assert (await api.tcp.get(KEYS, headers=bearer)).status_code == 200

    with_api(tmp_path, case)


def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for path, body in (
            (TENANTS, {"id": "*"}),
            (TENANTS, {"id": "x", "models": ["nothing"]}),
            (TENANTS, {}),
            (KEYS, {"role": "viewer"}),
            (KEYS, {"kind": "admin", "operations": ["chat"]}),
            (KEYS, {"operations": ["dance"]}),
            (KEYS, {"networks": ["10.0.0.1/8"]}),
            (KEYS, {"expires_at": "soon"}),
            (KEYS, {"user": "ann smith"}),
        ):
            response = await api.local.post(path, json=body)
            assert response.status_code == 400, f"{body}: {response.text}"
            error_of(response)
        assert (await api.local.patch(f"{TENANTS}/nobody", json={})).status_code == 404

    with_api(tmp_path, case)


def test_a_key_that_is_rotated_counts_as_the_one_before_and_both_are_valid_for_a_while(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        first = await make(
            api, tenant="acme", user="ann@x", models=["mini"], networks=["10.0.0.0/8"], operations=["chat"]
        )
        response = await api.local.post(f"{KEYS}/{first}/rotate", json={"overlap_s": 3600})
        assert response.status_code == 201
        assert response.headers["cache-control"] == "no-store"
        second = response.json()
        assert second["counts_as"] == first
        third = (await api.local.post(f"{KEYS}/{second['id']}/rotate", json={"overlap_s": 0})).json()
        records = published(api)
        assert records.keys() == {first, third["id"]}
        assert records[first].expires_at_ns == (1_700_000_000 + 3600) * 10**9
        new = records[third["id"]]
        assert (new.counts_as, new.user, new.models, new.networks, new.operations, new.expires_at_ns) == (
            first, "ann@x", ("mini",), ("10.0.0.0/8",), ("chat",), 0,
        )  # fmt: skip
        assert (await api.local.post(f"{KEYS}/{second['id']}/rotate", json={})).status_code == 404, "it has ended"

    with_api(tmp_path, case)


def test_the_end_of_time_is_a_moment_too(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for moment, made in (("9999-12-31T23:59:59Z", 201), ("0001-01-01T00:00:00Z", 400)):
            assert (await api.local.post(KEYS, json={"expires_at": moment})).status_code == made
            assert (await api.local.get(f"/admin/v1/usage?until={moment}")).status_code == 200

    with_api(tmp_path, case)


def test_an_admin_key_ends_when_it_says(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        begins = 1_700_000_000 * 10**9
        wanted = {"kind": "admin", "expires_at": "2023-11-14T22:13:21Z"}
        made = (await api.local.post(KEYS, json=wanted)).json()
        for now, status, listed in ((begins, 200, 1), (begins + 10**9 - 1, 200, 1), (begins + 10**9, 401, 0)):
            api.keys._clock_ns = lambda now=now: now  # type: ignore[misc]  # a default binds it to this turn
            answer = await api.tcp.get(KEYS, headers={"authorization": f"Bearer {made['key']}"})
            assert answer.status_code == status
            assert len((await api.get(KEYS))["keys"]) == listed
        assert len((await api.get(f"{KEYS}?revoked=true"))["keys"]) == 1
        assert (await api.local.post(KEYS, json=wanted)).status_code == 400, "it is over"

    with_api(tmp_path, case)
