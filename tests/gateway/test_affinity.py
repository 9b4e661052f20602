"""A gateway with two replicas that sends exchanges where their prompt, or their session, has been before."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from penstock.journal.records import Opened, Settled
from penstock.snapshot.config import Balance
from penstock.snapshot.fleet import ReplicaState
from tests.gateway.test_engines import Engines, deployment, replica_of
from tests.processes import eventually, model

REPLICAS = {"mini/0", "mini/1"}


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    with ExitStack() as stack:
        engines = Engines(tmp_path, stack)
        first, second = engines.lab("a"), engines.lab("b")
        engines.publish(("a", ReplicaState.READY, first.path, ""), ("b", ReplicaState.READY, second.path, ""))
        eventually(lambda: _both_used(engines), "both replicas being used")
        yield engines


def _both_used(engines: Engines) -> bool:
    asked = [engines.front.chat() for _ in range(4)]
    return {replica_of(engines, each.headers["x-request-id"]) for each in asked} == REPLICAS


def _balanced(engines: Engines, balance: Balance) -> None:
    """Balance the deployment so from now on."""
    engines.front.publish([deployment(balance=balance)], [model("chat", "mini")])
    eventually(lambda: len({_asked(engines, "Is it in use? " * 50, "x") for _ in range(4)}) == 1, "it being in use")


def _asked(engines: Engines, content: str, session: str = "", **fields: object) -> str:
    """Return the replica that answered."""
    body = {"model": "chat", "messages": [{"role": "user", "content": content}], **fields}
    headers = {"x-penstock-session": session} if session else {}
    response = engines.front.client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200
    return replica_of(engines, response.headers["x-request-id"])


def _explained(engines: Engines, response: httpx.Response) -> dict[str, str]:
    return dict(engines.front.settled(response.headers["x-request-id"]).explanation)


def test_a_conversation_stays_where_it_has_been_read(engines: Engines) -> None:
    _balanced(engines, Balance.PREFIX)
    texts = [f"The story of number {number}: " * 30 for number in range(10)]
    began = [_asked(engines, text) for text in texts]
    assert set(began) == REPLICAS, "new ones are shared out"
    for further in (" And then?", " And then? More.", " And then? More. Go on."):
        assert [_asked(engines, text + further) for text in texts] == began
    explained = _explained(engines, engines.front.chat(texts[0] + " The end."))
    known, of = (int(word) for word in explained["replica"].split() if word.isdigit())
    assert len(texts[0]) * 7 / 8 < known < of
    assert explained["replica"].startswith(began[0])


def test_a_replica_has_no_more_to_read_of_what_was_broken_off(engines: Engines) -> None:
    _balanced(engines, Balance.PREFIX)
    text = "A long manual. " * 100
    home = _asked(engines, text)
    stalled = 'lab: {"stall": "before_head"} ' + "What of this? " * 500
    messages = [{"role": "user", "content": content} for content in (text, stalled)]
    body = json.dumps({"model": "chat", "messages": messages}, separators=(",", ":"))  # as the others are written
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {engines.front.key}\r\n"
    with closing(socket.create_connection(("127.0.0.1", engines.front.port))) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        eventually(lambda: _in_progress(engines), "it being in progress")
    eventually(lambda: not _in_progress(engines), "its end")
    assert _asked(engines, text + " And then?") == home


def _in_progress(engines: Engines) -> set[str]:
    records = engines.front.journal()
    opened = {record.id for record in records if isinstance(record, Opened)}
    return opened - {record.id for record in records if isinstance(record, Settled)}


def test_a_session_stays_whatever_it_asks(engines: Engines) -> None:
    _balanced(engines, Balance.SESSION)
    for said in ("session", "user"):
        homes = [{_asked(engines, f"{turn}", **{said: f"s{each}"}) for turn in range(3)} for each in range(10)]
        assert all(len(home) == 1 for home in homes)
        assert set().union(*homes) == REPLICAS
    assert {_asked(engines, "hi") for _ in range(4)} == REPLICAS, "what has no session takes turns"
