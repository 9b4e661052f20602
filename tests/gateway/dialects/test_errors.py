import inspect
import json

import pytest

from penstock.gateway.dialects import errors as dialect
from penstock.snapshot.config import Outage
from penstock.types import errors
from penstock.types.dialect import Dialect


def test_every_error_has_a_meaning_of_its_own_or_inherits_a_deliberate_one() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ExchangeError)]
    named = {kind for kind, _ in dialect.MEANINGS}
    inheriting = {errors.ExchangeError, errors.UpstreamError, errors.UpstreamRejected, errors.UpstreamUnusable}
    assert set(kinds) - named == inheriting


@pytest.mark.parametrize(
    ("error", "status", "type_", "code", "source"),
    [
        (errors.InvalidRequest("m", param="p"), 400, "invalid_request_error", None, "client"),
        (errors.Unauthenticated("m"), 401, "invalid_request_error", "invalid_api_key", "client"),
        (errors.ModelNotFound("m"), 404, "invalid_request_error", "model_not_found", "client"),
        (errors.NoCapacity("m"), 503, "server_error", "overloaded", "penstock"),
        (errors.UpstreamUnreachable("m"), 503, "server_error", "upstream_unreachable", "upstream"),
        (errors.UpstreamFailed("m"), 502, "server_error", "upstream_failed", "upstream"),
        (errors.UpstreamTimeout("m"), 504, "timeout_error", "upstream_timeout", "upstream"),
        (errors.UpstreamRejected("m", status=429), 503, "server_error", "upstream_overloaded", "upstream"),
        (errors.UpstreamRejected("m", status=401), 502, "server_error", "upstream_failed", "upstream"),
        (errors.UpstreamRejected("m", status=404), 502, "server_error", "upstream_failed", "upstream"),
        (errors.UpstreamRejected("m", status=500), 502, "server_error", "upstream_failed", "upstream"),
        (errors.JournalError("m"), 503, "server_error", "journal_unavailable", "penstock"),
    ],
)
def test_status_and_body(error: errors.PenstockError, status: int, type_: str, code: str | None, source: str) -> None:
    refusal = dialect.refusal(error)
    body = json.loads(refusal.body)["error"]
    assert (refusal.status, body["type"], body["code"]) == (status, type_, code)
    ours = not isinstance(error, errors.UpstreamError)
    assert (body["message"] == "m") is ours, "an upstream's address is for the operator"
    assert f"x-penstock-error-source: {source}\r\n".encode() in refusal.headers
    assert (b"retry-after: " in refusal.headers) == (status == 503)


@pytest.mark.parametrize(
    ("status", "told"),
    [(500, "failed to answer"), (529, "failed to answer"), (401, "refused the request"), (429, "refused the request")],
)
def test_an_upstream_that_failed_has_refused_nothing(status: int, told: str) -> None:
    body = json.loads(dialect.refusal(errors.UpstreamRejected("m", status=status)).body)
    assert told in body["error"]["message"]


def test_anything_else_says_nothing_of_the_inside() -> None:
    refusal = dialect.refusal(RuntimeError("secret detail"))
    assert refusal.status == 500
    assert b"secret" not in refusal.body


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (
            b'{"error":{"message":"too long","param":null,"code":"context_length_exceeded"}}',
            True,
        ),
        (b'{"error":"text"}', False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_an_upstreams_words_pass_only_in_the_right_shape(given: bytes, passed: bool) -> None:
    body = dialect.body(errors.UpstreamRejected("m", status=400, body=given))
    assert (body == given) is passed
    assert "message" in json.loads(body)["error"]


def test_an_upstreams_words_about_our_credentials_do_not_pass() -> None:
    secret = b'{"error":{"message":"Incorrect API key provided: sk-proj-abc"}}'
    assert b"sk-proj" not in dialect.body(errors.UpstreamRejected("m", status=401, body=secret))


@pytest.mark.parametrize(("after", "header"), [(None, b"1"), (0.2, b"1"), (7.1, b"8"), (10**9, b"3600")])
def test_retry_after_is_whole_seconds_within_an_hour(after: float | None, header: bytes) -> None:
    assert b"retry-after: " + header + b"\r\n" in dialect.refusal(errors.NoCapacity("m", retry_after=after)).headers


def test_an_error_event_is_one_event() -> None:
    event = dialect.event(errors.UpstreamFailed("line\nbreak"))
    assert event.startswith(b"data: {")
    assert event.count(b"\n") == 2


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, "deny", "deny"),
        (Outage.ALLOW, "local_share", "local_share"),
        (Outage.LOCAL_SHARE, "allow", "local_share"),
        (Outage.LOCAL_SHARE, "", "local_share"),
        (None, "", None),
    ],
)
def test_what_was_done_without_the_counters_is_told_once_the_strictest(
    before: Outage | None, now: str, told: str | None
) -> None:
    error = errors.BudgetHeld("held", retry_after=1)
    error.counters = now
    found = dialect.refusal(error, b"x-request-id: r\r\n" + (dialect.counters_line(before) if before else b""))
    lines = [line for line in found.headers.decode().split("\r\n") if line.startswith("x-penstock-counters")]
    assert lines == ([] if told is None else [f"x-penstock-counters: {told}"])


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.Unauthenticated("m"), "authentication_error", "invalid_api_key"),
        (errors.NotAllowed("m"), "permission_error", "permission_denied"),
        (errors.ModelNotFound("m", param="model"), "not_found_error", "model_not_found"),
        (errors.InvalidRequest("m", param="n", code="invalid_value"), "invalid_request_error", "invalid_value"),
        (errors.BudgetSpent("m"), "rate_limit_error", "insufficient_quota"),
        (errors.NoCapacity("m"), "overloaded_error", "overloaded"),
        (errors.UpstreamTimeout("m"), "timeout_error", "upstream_timeout"),
        (errors.UpstreamFailed("m"), "api_error", "upstream_failed"),
    ],
)
def test_anthropics_shape(error: errors.PenstockError, kind: str, code: str) -> None:
    told = json.loads(dialect.refusal(error, b"", Dialect.MESSAGES).body)
    assert told["type"] == "error"
    assert (told["error"]["type"], told["error"]["code"]) == (kind, code)
    event = dialect.event(error, Dialect.MESSAGES)
    assert event.startswith(b"event: error\ndata: ")
    assert json.loads(event.split(b"data: ")[1]) == told


OPENAIS = b'{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"too_long"}}'
ANTHROPICS = b'{"type":"error","error":{"type":"invalid_request_error","message":"too long"},"request_id":"x"}'


@pytest.mark.parametrize("spoken", [Dialect.CHAT, Dialect.RESPONSES, Dialect.MESSAGES])
@pytest.mark.parametrize("given", [OPENAIS, ANTHROPICS])
def test_an_upstreams_words_reach_the_client_in_its_own_dialect(given: bytes, spoken: Dialect) -> None:
    told = dialect.body(errors.UpstreamRejected("m", status=400, body=given), spoken)
    assert (told == given) is ((given is ANTHROPICS) is (spoken is Dialect.MESSAGES))
    found = json.loads(told)
    assert found["error"]["message"] == "too long"
    assert found["error"]["type"] == "invalid_request_error"
    assert (found.get("type") == "error") is (spoken is Dialect.MESSAGES)


def test_an_error_in_a_stream_of_responses() -> None:
    event = dialect.event(errors.UpstreamFailed("m"), Dialect.RESPONSES)
    told = json.loads(event.removeprefix(b"event: error\ndata: "))
    assert (told["type"], told["code"]) == ("error", "upstream_failed")
    assert told["message"]
