from pathlib import Path

from penstock.auth import keys as auth
from penstock.snapshot.file import Reader
from penstock.snapshot.principals import Principals
from tests.control.admin.api import Api, error_of, with_api

KEYS = "/admin/v1/keys"


def test_a_key_is_shown_once_and_known_to_gateways_when_it_is_shown(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        response = await api.local.post(KEYS, json={"name": "ci", "tenant": "acme", "models": ["chat", "chat"]})
        assert response.status_code == 201
        assert response.headers["cache-control"] == "no-store"
        made = response.json()
        principals = Reader(api.home.snapshot, Principals).changed()
        assert principals is not None
        record = principals.keys[made["id"]]
        assert record is not None
        assert record.models == ("chat",)
        assert auth.key_id(made["key"].encode()) == made["id"].encode()
        expected = {
            "id": made["id"],
            "kind": "client",
            "name": "ci",
            "tenant": "acme",
            "user": "",
            "role": None,
            "models": ["chat"],
            "operations": None,
            "networks": None,
            "created_at": "2023-11-14T22:13:20Z",
            "expires_at": None,
            "revoked_at": None,
            "counts_as": made["id"],
        }
        assert made == {**expected, "key": made["key"], "new_tenant": True}
        again = (await api.local.post(KEYS, json={"tenant": "acme"})).json()
        assert again["new_tenant"] is False, "a word that is mistyped makes a tenant, which is said"
        await api.local.delete(f"{KEYS}/{again['id']}")
        assert await api.get(f"{KEYS}/{made['id']}") == expected
        assert await api.get(KEYS) == {"keys": [expected], "next": None}

    with_api(tmp_path, case)


def test_everything_about_a_new_key_has_a_default(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        made = (await api.local.post(KEYS, json={})).json()
        assert (made["name"], made["tenant"], made["models"], made["kind"]) == ("", "default", None, "client")
        assert made["new_tenant"] is False

    with_api(tmp_path, case)


def test_a_revoked_key_is_unknown_to_gateways_when_revoking_answers(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        made = (await api.local.post(KEYS, json={"name": "gone"})).json()
        response = await api.local.delete(f"{KEYS}/{made['id']}")
        assert (response.status_code, response.content) == (204, b"")
        principals = Reader(api.home.snapshot, Principals).changed()
        assert principals is not None
        assert principals.keys == {}
        response = await api.local.delete(f"{KEYS}/{made['id']}")
        assert response.status_code == 404
        error_of(response)
        assert (await api.get(KEYS))["keys"] == []
        (shown,) = (await api.get(f"{KEYS}?revoked=true"))["keys"]
        assert shown["revoked_at"] is not None
        assert await api.get(f"{KEYS}/{made['id']}") == shown

    with_api(tmp_path, case)


def test_an_unknown_key_is_not_found(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for response in (await api.local.get(f"{KEYS}/nobody"), await api.local.delete(f"{KEYS}/nobody")):
            assert response.status_code == 404
            assert error_of(response)["code"] == "not_found"

    with_api(tmp_path, case)


def test_a_long_listing_comes_in_pages(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        made = sorted([(await api.local.post(KEYS, json={})).json()["id"] for _ in range(5)])
        seen: list[str] = []
        after = ""
        while True:
            page = await api.get(f"{KEYS}?limit=2{after}")
            seen += [key["id"] for key in page["keys"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert seen == made  # all made at the same moment, so by id
        for limit in (0, 1001, "x"):
            assert (await api.local.get(f"{KEYS}?limit={limit}")).status_code == 400

    with_api(tmp_path, case)


def test_an_admin_makes_another(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        made = (await api.local.post(KEYS, json={"kind": "admin", "name": "second"})).json()
        headers = {"authorization": f"Bearer {made['key']}"}
        assert (await api.tcp.get(KEYS, headers=headers)).status_code == 200
        assert (await api.tcp.delete(f"{KEYS}/{made['id']}", headers=headers)).status_code == 204
        assert (await api.tcp.get(KEYS, headers=headers)).status_code == 401

    with_api(tmp_path, case)
