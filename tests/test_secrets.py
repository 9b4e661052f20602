"""Secrets planted wherever users put them come out nowhere: not in logs, metrics, rows, snapshots, dumps or errors."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from penstock.lab.running import start
from tests.processes import Lab, eventually
from tests.servers import PostgresServer, RedisServer

pytestmark = pytest.mark.stack

PROVIDER, REDIS, HEADER, PROMPT, TOOL, WRONG = (
    f"canary-{name}-5f1d7c" for name in ("pr", "re", "he", "pt", "to", "wr")
)
STACK = """\
version: 1
state: {{counters: "${{REDIS_URL}}", database: "${{DATABASE_URL}}"}}
gateway: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, workers: 2}}
admin: {{listen: 127.0.0.1:0}}
deployments:
  lab: {{base_url: {url}/v1, model: lab, api_key: "${{PROVIDER_KEY}}", price: {{input: 1, output: 1}}}}
  gone: {{base_url: "http://127.0.0.1:1/v1", model: lab, api_key: "${{PROVIDER_KEY}}"}}
models:
  chat: {{targets: lab, policies: all}}
  gone: {{targets: gone}}
policies:
  all:
    limits: [{{per: key, requests_per_minute: 1000, tokens_per_minute: 1000000, concurrency: 10}}]
    budgets: [{{per: tenant, amount_usd: 10, period: month}}]
"""


def test_planted_secrets_come_out_nowhere(tmp_path: Path) -> None:
    with RedisServer() as redis, PostgresServer() as postgres, Lab() as lab:
        with redis.client() as client:
            client.config_set("requirepass", REDIS)
        name = postgres.make()
        environ = {
            "REDIS_URL": redis.url.replace("://", f"://:{REDIS}@"),
            "DATABASE_URL": postgres.url(name),
            "PROVIDER_KEY": PROVIDER,
            "PENSTOCK_LOG_LEVEL": "debug",
        }
        seen: dict[str, str] = {}
        with start(tmp_path, STACK.format(url=lab.url), environ=environ) as running:
            secrets = [PROVIDER, REDIS, HEADER, PROMPT, TOOL, WRONG, "hunter2"]
            secrets += [key[-20:] for key in (running.key, running.admin_key)]

            def ask(model: str, prompt: str, *, key: str = running.key, **more: object) -> str:
                messages = [{"role": "user", "content": f"{prompt} {PROMPT}"}]
                tools = [{"type": "function", "function": {"name": "f", "description": TOOL, "parameters": {}}}]
                answer = httpx.post(
                    f"{running.url}/v1/chat/completions",
                    content=json.dumps({"model": model, "messages": messages, "tools": tools, **more}),
                    headers={"authorization": f"Bearer {key}", "x-secret": HEADER, "cookie": HEADER},
                    trust_env=False,
                    timeout=30,
                )
                return answer.text if answer.status_code != 200 else ""

            refusals = [
                ask("chat", "hello"),
                ask("chat", "hello", stream=True),
                ask("chat", 'lab: {"status": 500}'),
                ask("chat", 'lab: {"status": 401}'),
                ask("chat", 'lab: {"cut": "in_head"}'),
                ask("gone", "hello"),
                ask("nothing", "hello"),
                ask("chat", "hello", key=f"sk-ps-aaaaaaaaaaaa-{WRONG}"),
                ask("chat", "hello", max_tokens=WRONG),
                ask("chat", "hello", temperature={"x": WRONG}),
            ]
            seen |= {f"refusal {number}": text for number, text in enumerate(refusals)}
            transport = httpx.HTTPTransport(uds=str(running.home.admin_socket))
            with httpx.Client(transport=transport, base_url="http://localhost/admin/v1") as api:
                eventually(lambda: api.get("/usage").json()["totals"]["requests"] >= 5, "the ledger")
                for path in ("status", "usage", "keys", "tenants", "requests?limit=1000"):
                    seen[path] = api.get(f"/{path}").text
            wrong = {"authorization": f"Bearer {WRONG}"}
            seen["401"] = httpx.get(f"{running.admin_url}/admin/v1/keys", headers=wrong, trust_env=False).text
            seen["metrics"] = httpx.get(f"{running.ops_url}/metrics", trust_env=False).text
            seen["titles"] = " ".join(process.title for process in running.processes())
            seen["redis"] = _dump(redis)
        tables = postgres.tell("SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'", name)
        for table in tables.split():
            seen[f"table {table}"] = postgres.tell(f"SELECT t::text FROM {table} t", name)
        for file in sorted(tmp_path.rglob("*")):
            if file.is_file():
                seen[str(file.relative_to(tmp_path))] = file.read_bytes().decode("latin-1")
        assert {"table ledger", "penstock.log", "redis", "metrics"} <= seen.keys()
        assert "acme" not in seen["table ledger"]
        assert seen["table ledger"].count("req-") >= 5
        assert "penstock_" in seen["metrics"]
        assert "held" in seen["redis"] or "spent" in seen["redis"]
        found = [f"{secret} in {where}" for where, text in seen.items() for secret in secrets if secret in text]
        assert found == []


def _dump(redis: RedisServer) -> str:
    """Return everything that is in a Redis."""
    with redis.client(REDIS) as client:
        parts = []
        for key in client.keys("*"):
            kind = client.type(key)
            read = {"hash": client.hgetall, "set": client.smembers, "string": client.get}.get(kind)
            parts.append(f"{key} {read(key) if read else client.zrange(key, 0, -1)}")
        return "\n".join(parts)
