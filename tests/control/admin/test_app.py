import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from tests.control.admin.api import Api, error_of, with_api


def test_the_document_describes_every_route_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        document = await api.get("/admin/v1/openapi.json")
        assert set(document["paths"]) == {
            "/admin/v1/backup",
            "/admin/v1/hosts",
            "/admin/v1/hosts/{host_id}",
            "/admin/v1/keys",
            "/admin/v1/keys/{key_id}",
            "/admin/v1/keys/{key_id}/rotate",
            "/admin/v1/requests",
            "/admin/v1/requests/{request_id}",
            "/admin/v1/status",
            "/admin/v1/tenants",
            "/admin/v1/tenants/{tenant_id}",
            "/admin/v1/usage",
        }
        assert "ErrorBody" in document["components"]["schemas"]
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert (await api.local.get(path)).status_code == 404

    with_api(tmp_path, case)


def test_what_is_not_served_is_refused_in_our_shape(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        response = await api.local.get("/admin/v1/nothing")
        assert response.status_code == 404
        assert "GET /admin/v1/nothing" in error_of(response)["message"]
        response = await api.local.get("/admin/v1/keys/")
        assert response.status_code == 404
        error_of(response)
        response = await api.local.put("/admin/v1/keys")
        assert response.status_code == 405
        assert error_of(response)["code"] == "method_not_allowed"
        assert "allow" in response.headers

    with_api(tmp_path, case)


def test_a_fault_of_ours_is_told_without_its_details(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        async with api.keys._database.write() as connection:
            await connection.exec_driver_sql("DROP TABLE keys")
        response = await api.local.get("/admin/v1/keys")
        assert response.status_code == 500
        assert error_of(response) == {
            "message": "internal error; the log of control says more",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }

    with_api(tmp_path, case)


def test_a_database_that_another_program_locks_is_busy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case(api: Api) -> None:
        made = (await api.local.post("/admin/v1/keys", json={"kind": "admin"})).json()
        async with api.keys._database.write() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout = 1")  # of the one connection that is open
        with closing(sqlite3.connect(api.home.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answers = [
                await api.local.post("/admin/v1/keys", json={}),
                await api.local.delete(f"/admin/v1/keys/{made['id']}"),
            ]
            other.execute("ROLLBACK")
        for response in answers:
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert (
                error_of(response)["message"]
                == "the database is busy: another program has locked it, or it does not answer; try again"
            )
        assert len(caplog.records) == 2
        assert all(record.exc_info is None for record in caplog.records)
        assert (await api.local.post("/admin/v1/keys", json={})).status_code == 201

    caplog.set_level("WARNING")
    with_api(tmp_path, case)


def test_a_body_is_json_whatever_its_type_is_called(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain"}):
            response = await api.local.post("/admin/v1/keys", content=b'{"name": "ci"}', headers=headers)
            assert (response.status_code, response.json()["name"]) == (201, "ci")

    with_api(tmp_path, case)


def test_the_document_says_how_callers_are_known(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        document = await api.get("/admin/v1/openapi.json")
        ((name, scheme),) = document["components"]["securitySchemes"].items()
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
        for operations in document["paths"].values():
            for operation in operations.values():
                assert operation["security"] == [{name: []}]

    with_api(tmp_path, case)


BAD_BODIES = [
    (b"{", "not valid JSON"),
    (b"[]", "body:"),
    (b'"name"', "body:"),
    (b"", "body:"),
    (b'{"name": 5}', "name:"),
    (b'{"name": "a", "nmae": "b"}', "nmae:"),
    (b'{"models": "chat"}', "models:"),
    (b'{"models": []}', "models:"),
    (b'{"models": [""]}', "models.0:"),
    (b'{"models": [1]}', "models.0:"),
    (b'{"tenant": ""}', "tenant:"),
    (b'{"tenant": "a b"}', "tenant: has 1 to 64 of: letters, digits"),
    (b'{"tenant": "acme\\n"}', "tenant:"),
    (b'{"name": "a\\u0000b"}', "name: must not contain control characters"),
    (b'{"name": "' + b"x" * 201 + b'"}', "name:"),
    (b'{"kind": "root"}', "kind:"),
    (b'{"models": ["caht"]}', "models: there is no model 'caht' in the stack, did you mean 'chat'?"),
    (b'{"models": ["chat\\u0007"]}', "models.0: must not contain control characters"),
    (b'{"kind": "admin", "models": ["chat"]}', "models:"),
    (b'{"name": "\xff"}', "body"),
    (b"[" * 10_000 + b"]" * 10_000, "body"),
    (b'{"name": "\\ud800"}', "name"),
]


def test_a_bad_body_is_refused_in_one_sentence_and_makes_no_key(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        for content, message in BAD_BODIES:
            response = await api.local.post(
                "/admin/v1/keys", content=content, headers={"content-type": "application/json"}
            )
            assert response.status_code == 400, content[:100]
            error = error_of(response)
            assert message in error["message"]
            assert "\n" not in error["message"]
            assert error["type"] == "invalid_request_error"
        assert (await api.get("/admin/v1/keys"))["keys"] == []

    with_api(tmp_path, case)


def test_the_page_lists_the_routes_there_are(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "admin.md").read_text()

    async def case(api: Api) -> None:
        served = {
            f"{method} {route.path}"
            for route in api.app.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        assert set(re.findall(r"^\| `([A-Z]+ /[^`]+)` \|", page, re.MULTILINE)) == served

    with_api(tmp_path, case)
