import socket
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from penstock.auth.roles import Role
from penstock.control.admin.access import MAX_BODY, VARIABLE, Credentials, Door, hosts_of, key_from
from penstock.control.keys import Scope
from penstock.records.keys import ALL_TENANTS
from tests.control.admin.api import FIRST_KEY, Api, error_of, with_api

KEYS = "/admin/v1/keys"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def routes(api: Api) -> list[tuple[str, str]]:
    """Return the method and an example path of everything that is served."""
    found = []
    for route in api.app.routes:
        assert isinstance(route, APIRoute), f"{route} is no route of ours and names no roles"
        path = route.path.replace("{key_id}", "nobody").replace("{request_id}", "nothing")
        found += [(method, path) for method in sorted(route.methods or ())]
    return found


def test_every_route_is_for_admins_alone(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        _, client_key = await api.keys.create("client", Scope("acme"))
        _, admin_key = await api.keys.create("admin", Scope(ALL_TENANTS, role=Role.ADMIN))
        revoked, revoked_key = await api.keys.create("gone", Scope(ALL_TENANTS, role=Role.ADMIN))
        assert await api.keys.revoke(revoked.id)
        wrong_key = admin_key[:-1] + ("A" if admin_key[-1] != "A" else "B")
        callers: list[tuple[str, httpx.AsyncClient, dict[str, str], int | None]] = [
            ("no key", api.tcp, {}, 401),
            ("a client's key", api.tcp, bearer(client_key), 403),
            ("a wrong admin key", api.tcp, bearer(wrong_key), 401),
            ("a revoked admin key", api.tcp, bearer(revoked_key), 401),
            ("another scheme", api.tcp, {"authorization": f"Basic {admin_key}"}, 401),
            ("a wrong first key", api.tcp, bearer(FIRST_KEY + "!"), 401),
            ("an admin key", api.tcp, bearer(admin_key), None),
            ("the first key", api.tcp, bearer(FIRST_KEY), None),
            ("the local socket", api.local, {}, None),
        ]
        served = routes(api)
        assert {path for _, path in served} >= {KEYS, "/admin/v1/usage", "/admin/v1/status", "/admin/v1/openapi.json"}
        for method, path in served:
            for who, client, headers, refusal in callers:
                response = await client.request(method, path, headers=headers)
                if refusal is None:
                    assert response.status_code in (200, 400, 404), f"{method} {path} with {who}"
                else:
                    assert response.status_code == refusal, f"{method} {path} with {who}"
                    assert error_of(response)["code"] in ("invalid_api_key", "permission_denied")

    with_api(tmp_path, case)


def test_who_calls_is_known_before_anything_is_read_of_the_body(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        response = await api.tcp.post(KEYS, content=b"{", headers={"content-type": "application/json"})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        response = await api.tcp.get("/admin/v1/nothing-here")
        assert response.status_code == 401  # what exists is not told either

    with_api(tmp_path, case)


def test_a_key_in_a_refusal_is_never_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case(api: Api) -> None:
        response = await api.tcp.get(KEYS, headers=bearer("sk-psadmin-0123456789ab-" + "s" * 43))
        assert response.status_code == 401
        assert "s" * 43 not in response.text
        assert "s" * 43 not in caplog.text

    with_api(tmp_path, case)


def test_odd_keys_are_just_wrong(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for key in (b"", b" ", "ключ".encode(), b"\xff\xfe", b"x" * 5000, b"sk-psadmin--"):
            response = await api.tcp.get(KEYS, headers={b"authorization": b"Bearer " + key})
            assert response.status_code == 401

    with_api(tmp_path, case)


def test_a_first_key_may_be_any_text(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        door = Door(api.app, Credentials(api.keys, key_from({VARIABLE: " ключ от всех дверей\n"})))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://localhost") as client:
            good = await client.get(KEYS, headers={b"authorization": "Bearer ключ от всех дверей".encode()})
            assert good.status_code == 200
            assert (await client.get(KEYS, headers={b"authorization": "Bearer ключ".encode()})).status_code == 401
        blank = Door(api.app, Credentials(api.keys, key_from({VARIABLE: " "})))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(blank), base_url="http://localhost") as client:
            assert (await client.get(KEYS, headers={b"authorization": b"Bearer  "})).status_code == 401

    with_api(tmp_path, case)


def test_only_names_of_this_machine_are_answered(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        expected = {
            "localhost": 200,
            "localhost:8081": 200,
            "LocalHost:1": 200,
            "127.0.0.1:8081": 200,
            "[::1]:8081": 200,
            "[::1]": 200,
            "attacker.example": 421,
            "attacker.example:8081": 421,
            "localhost.attacker.example": 421,
            "127.0.0.1.attacker.example:8081": 421,
            "": 421,
            "localhost:x": 421,
        }
        for host, status in expected.items():
            response = await api.tcp.get(KEYS, headers={"host": host, **bearer(FIRST_KEY)})
            assert response.status_code == status, host
        response = await api.local.get(KEYS, headers={"host": "anything"})
        assert response.status_code == 200

    with_api(tmp_path, case)


def test_names_are_bounded_on_loopback_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as loopback:
        assert hosts_of(loopback) == frozenset({"localhost", "127.0.0.1", "[::1]"})
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert hosts_of(everywhere) is None
    with socket.socket(socket.AF_UNIX) as unix:
        assert hosts_of(unix) is None


def test_a_body_that_is_too_large_is_refused_announced_or_not(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        whole = b'{"name": "' + b"x" * MAX_BODY + b'"}'

        async def pieces() -> object:
            for start in range(0, len(whole), 100_000):
                yield whole[start : start + 100_000]

        for content in (whole, pieces()):
            response = await api.local.post(KEYS, content=content, headers={"content-type": "application/json"})  # type: ignore[arg-type]  # an async generator is fine
            assert response.status_code == 413
            assert error_of(response)["code"] == "request_too_large"
        assert (await api.get(KEYS))["keys"] == []

    with_api(tmp_path, case)


def test_a_database_that_fails_is_our_fault_not_the_keys(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        _, admin_key = await api.keys.create("admin", Scope(ALL_TENANTS, role=Role.ADMIN))
        async with api.keys._database.write() as connection:
            await connection.exec_driver_sql("DROP TABLE keys")
        response = await api.tcp.get(KEYS, headers=bearer(admin_key))
        assert response.status_code == 500
        error = error_of(response)
        assert error["type"] == "server_error"
        assert "keys" not in error["message"]

    with_api(tmp_path, case)
