"""Every route with every role, for all tenants and for one; and what belongs to another tenant does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.routing import APIRoute

from penstock.auth import pepper
from penstock.auth.roles import Role
from penstock.control.keys import Scope
from penstock.journal.shipping import Report
from penstock.records.keys import ALL_TENANTS
from tests.control.admin.api import NONCE, SECRET, Api, error_of, with_api
from tests.records.exchanges import settled

EVERYBODY = frozenset(Role) - {Role.GATEWAY}
LOOKERS = frozenset({Role.ADMIN, Role.OPERATOR, Role.AUDITOR})
MAKERS = frozenset({Role.ADMIN, Role.DEVELOPER})
# Who may call a route with a key for all tenants, and who with a key for the tenant that it is about.
ALLOWED: dict[tuple[str, str], tuple[frozenset[Role], frozenset[Role]]] = {
    ("GET", "/admin/v1/openapi.json"): (frozenset(Role), frozenset(Role)),
    ("GET", "/admin/v1/status"): (LOOKERS | {Role.VIEWER}, frozenset()),
    ("GET", "/admin/v1/usage"): (EVERYBODY, EVERYBODY),
    ("GET", "/admin/v1/requests"): (LOOKERS | MAKERS, LOOKERS | MAKERS),
    ("GET", "/admin/v1/requests/{request_id}"): (LOOKERS | MAKERS, LOOKERS | MAKERS),
    ("GET", "/admin/v1/keys"): (LOOKERS | MAKERS, LOOKERS | MAKERS),
    ("GET", "/admin/v1/keys/{key_id}"): (LOOKERS | MAKERS, LOOKERS | MAKERS),
    ("POST", "/admin/v1/keys"): (MAKERS, MAKERS),
    ("POST", "/admin/v1/keys/{key_id}/rotate"): (MAKERS, MAKERS),
    ("DELETE", "/admin/v1/keys/{key_id}"): (MAKERS | {Role.OPERATOR}, MAKERS | {Role.OPERATOR}),
    ("GET", "/admin/v1/tenants"): (LOOKERS, LOOKERS),
    ("POST", "/admin/v1/tenants"): (frozenset({Role.ADMIN}), frozenset()),
    ("GET", "/admin/v1/tenants/{tenant_id}"): (LOOKERS, LOOKERS),
    ("PATCH", "/admin/v1/tenants/{tenant_id}"): (frozenset({Role.ADMIN, Role.OPERATOR}), frozenset()),
    ("GET", "/admin/v1/hosts"): (LOOKERS | {Role.VIEWER}, frozenset()),
    ("DELETE", "/admin/v1/hosts/{host_id}"): (frozenset({Role.ADMIN, Role.OPERATOR}), frozenset()),
    ("GET", "/admin/v1/snapshot"): (frozenset({Role.ADMIN, Role.GATEWAY}), frozenset()),
    ("POST", "/admin/v1/hosts/{host_id}/report"): (frozenset({Role.ADMIN, Role.GATEWAY}), frozenset()),
    ("GET", "/admin/v1/backup"): (frozenset({Role.ADMIN}), frozenset()),
}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/admin/v1/keys"): {},
    ("POST", "/admin/v1/keys/{key_id}/rotate"): {},
    ("POST", "/admin/v1/tenants"): {"id": "fresh"},
    ("PATCH", "/admin/v1/tenants/{tenant_id}"): {"suspended": False},
}


ELSEWHERE, NOTHING = "0123456789ab", Report(1, "elsewhere", "1.0", (), control=NONCE)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_the_table_has_every_route(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        served = {
            (method, route.path)
            for route in api.app.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        assert served == set(ALLOWED)

    with_api(tmp_path, case)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("tenant", [ALL_TENANTS, "acme"])
def test_every_route_with_every_role(tmp_path: Path, role: Role, tenant: str) -> None:
    async def case(api: Api) -> None:
        _, key = await api.keys.create("theirs", Scope(tenant, role=role))
        api.write(settled(1, tenant="acme"))
        for number, ((method, path), (everywhere, within)) in enumerate(ALLOWED.items()):
            victim, _ = await api.keys.create(f"k{number}", Scope("acme"))
            api.silence()
            await api.hosts.report(ELSEWHERE, NOTHING)
            api.silence()  # so that it may be forgotten, and report with another key
            at = path.replace("{key_id}", victim.id).replace("{tenant_id}", "acme")
            at = at.replace("{request_id}", settled(1).id).replace("{host_id}", ELSEWHERE)
            at = at.replace("/snapshot", f"/snapshot?check={pepper.check(SECRET).hex()}")
            body: dict[str, Any] = {"json": BODIES.get((method, path))}
            if path.endswith("/report"):
                body = {"content": msgspec.msgpack.encode(NOTHING)}
            answer = await api.tcp.request(method, at, **body, headers=bearer(key))
            if role in (everywhere if tenant == ALL_TENANTS else within):
                assert answer.status_code in (200, 201, 204), f"{role} {method} {path}: {answer.text}"
            else:
                assert answer.status_code == 403, f"{role} {method} {path}"
                assert error_of(answer)["code"] == "permission_denied"

    with_api(tmp_path, case)


@pytest.mark.parametrize("role", Role)
def test_nothing_of_another_tenant_exists(tmp_path: Path, role: Role) -> None:
    async def case(api: Api) -> None:
        theirs, _ = await api.keys.create("theirs", Scope("rival"))
        their_admin, _ = await api.keys.create("their admin", Scope("rival", role=Role.ADMIN))
        root, _ = await api.keys.create("root", Scope(ALL_TENANTS, role=Role.ADMIN))
        ours, _ = await api.keys.create("ours", Scope("acme"))
        api.write(settled(1, tenant="rival", key=theirs.id), settled(2, tenant="acme", key=ours.id))
        _, key = await api.keys.create("we", Scope("acme", role=role))
        headers = bearer(key)

        async def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
            answer = await api.tcp.request(method, f"/admin/v1{path}", json=body, headers=headers)
            return answer.status_code, answer.json() if answer.content else None

        foreign = [
            *(("GET", f"/keys/{key.id}", None) for key in (theirs, their_admin, root)),
            *(("DELETE", f"/keys/{key.id}", None) for key in (theirs, their_admin, root)),
            *(("POST", f"/keys/{key.id}/rotate", {}) for key in (theirs, their_admin, root)),
            ("POST", "/keys", {"tenant": "rival"}),
            ("GET", f"/requests/{settled(1).id}", None),
            ("GET", "/requests?tenant=rival", None),
            ("GET", "/keys?tenant=rival", None),
            ("GET", "/usage?tenant=rival", None),
            ("GET", "/tenants/rival", None),
            ("GET", f"/keys?after={theirs.id}", None),
            ("GET", f"/requests?before={settled(1).id}", None),
        ]
        for method, path, body in foreign:
            status, answer = await ask(method, path, body)
            nowhere = path.replace(theirs.id, "nobody").replace(their_admin.id, "nobody").replace(root.id, "nobody")
            nowhere = nowhere.replace("rival", "nowhere").replace(settled(1).id, "req-0")
            missing, other = await ask(method, nowhere, {"tenant": "nowhere"} if body == {"tenant": "rival"} else body)
            assert status == missing, f"{role} {method} {path}: {status}, and {missing} where there is nothing"
            assert status in (403, 404) or answer == other, f"{role} {method} {path}"
        for path, name in (("/keys", "keys"), ("/requests", "requests"), ("/tenants", "tenants")):
            status, found = await ask("GET", path)
            if status == 200:
                assert {each.get("tenant", each["id"]) for each in found[name]} == {"acme"}, f"{role} {path}"
        status, found = await ask("GET", "/usage")
        if role is Role.GATEWAY:
            assert status == 403
            return
        assert status == 200
        assert found["totals"]["requests"] == 1
        assert [row["tenant"] for row in found["by_tenant"]] == ["acme"]

    with_api(tmp_path, case)


def test_nobody_makes_a_key_that_may_do_more_than_its_maker(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        _, developer = await api.keys.create("d", Scope(ALL_TENANTS, role=Role.DEVELOPER))
        _, within = await api.keys.create("a", Scope("acme", role=Role.ADMIN))
        other, _ = await api.keys.create("o", Scope("acme", role=Role.VIEWER))
        keys = "/admin/v1/keys"
        wanted = {"kind": "admin", "role": "viewer"}
        assert (await api.tcp.post(keys, json=wanted, headers=bearer(developer))).status_code == 403
        assert (await api.tcp.delete(f"{keys}/{other.id}", headers=bearer(developer))).status_code == 403
        assert (await api.tcp.post(f"{keys}/{other.id}/rotate", json={}, headers=bearer(developer))).status_code == 403
        made = (await api.tcp.post(keys, json={"kind": "admin"}, headers=bearer(within))).json()
        assert (made["role"], made["tenant"]) == ("admin", "acme")
        everywhere = await api.tcp.post(keys, json={"kind": "admin", "tenant": "*"}, headers=bearer(within))
        assert everywhere.status_code == 400
        fresh = await api.tcp.post(keys, json={"tenant": "fresh"}, headers=bearer(developer))
        assert fresh.status_code == 404
        assert "fresh" not in api.keys.tenants
        assert (await api.tcp.post(keys, json={}, headers=bearer(developer))).status_code == 201
        soon = "2023-11-14T23:00:00Z"
        _, brief = await api.keys.create("b", Scope(ALL_TENANTS, role=Role.ADMIN, expires_at_ns=1_700_002_800 * 10**9))
        for wanted in ({"kind": "admin"}, {"kind": "admin", "expires_at": "2030-01-01"}):
            made = (await api.tcp.post(keys, json=wanted, headers=bearer(brief))).json()
            assert made["expires_at"] == soon
        made = (await api.local.post(keys, json={"kind": "admin"})).json()
        assert (made["role"], made["tenant"]) == ("admin", "*")

    with_api(tmp_path, case)
