import pytest

from penstock.auth import keys
from penstock.gateway.identity.caller import Caller, Callers, authenticate
from penstock.snapshot.principals import KeyRecord
from penstock.types.errors import NotAllowed, Unauthenticated
from penstock.types.operation import Operation

PEPPER = b"p" * 32
NEW = keys.create(PEPPER)
KNOWN = Callers({NEW.id: KeyRecord(NEW.id, NEW.digest, "acme", ("chat",))})


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer " + NEW.key.encode()},
        {b"authorization": b"bearer  " + NEW.key.encode()},
        {b"x-api-key": NEW.key.encode()},
        {b"api-key": NEW.key.encode()},
    ],
)
def test_a_valid_key_is_found_in_each_usual_header(headers: dict[bytes, bytes]) -> None:
    caller = authenticate(headers, KNOWN, keys.Digester(PEPPER))
    assert (caller.key, caller.tenant) == (NEW.id, "acme")
    assert caller.may_use("chat")
    assert not caller.may_use("other")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Basic " + NEW.key.encode()},
        {b"authorization": NEW.key.encode()},
        {b"authorization": b"Bearer " + NEW.key[:-1].encode() + b"!"},
        {b"authorization": b"Bearer " + NEW.key[:-1].encode() + (b"A" if NEW.key[-1] != "A" else b"B")},
        {b"authorization": b"Bearer " + keys.create(PEPPER).key.encode()},
        {b"authorization": b"Bearer " + b"x" * 10_000},
        {b"authorization": b"Bearer \xff\xfe"},
        {b"authorization": b"Bearer ' OR '1'='1"},
        {b"authorization": b"Basic x", b"x-api-key": NEW.key.encode()},
    ],
)
def test_anything_else_is_refused_without_repeating_it(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(headers, KNOWN, keys.Digester(PEPPER))
    assert NEW.key not in str(caught.value)


def test_another_pepper_knows_nobody() -> None:
    with pytest.raises(Unauthenticated):
        authenticate({b"x-api-key": NEW.key.encode()}, KNOWN, keys.Digester(b"q" * 32))


def caller_of(**bounds: object) -> Caller:
    record = KeyRecord(NEW.id, NEW.digest, "acme", **bounds)  # type: ignore[arg-type]  # whichever a test gives
    known = Callers({NEW.id: record})
    return authenticate({b"x-api-key": NEW.key.encode()}, known, keys.Digester(PEPPER))


def test_a_key_ends_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = 1_700_000_000
    monkeypatch.setattr("time.time", lambda: ends - 0.001)
    caller_of(expires_at_ns=ends * 10**9)
    monkeypatch.setattr("time.time", lambda: float(ends))
    with pytest.raises(Unauthenticated, match="expired"):
        caller_of(expires_at_ns=ends * 10**9)
    caller_of()


def test_a_successor_counts_as_the_first_and_says_who_it_is() -> None:
    caller = caller_of(counts_as="first")
    assert caller.key == "first"
    assert NEW.id in caller.explained[1]


@pytest.mark.parametrize(
    ("networks", "address", "inside"),
    [
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "11.1.2.3", False),
        (("192.0.2.7/32", "2001:db8::/32"), "2001:db8::1", True),
        (("10.0.0.0/8",), "2001:db8::1", False),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("fe80::/10",), "fe80::1%eth0", True),
    ],
)
def test_a_key_is_used_from_its_networks_alone(networks: tuple[str, ...], address: str, *, inside: bool) -> None:
    bounds = caller_of(networks=networks).bounds
    assert bounds is not None
    if inside:
        bounds.check(Operation.CHAT, address)
    else:
        with pytest.raises(NotAllowed, match="address"):
            bounds.check(Operation.CHAT, address)


def test_a_key_is_used_for_its_operations_alone() -> None:
    bounds = caller_of(operations=(Operation.EMBEDDINGS,)).bounds
    assert bounds is not None
    bounds.check(Operation.EMBEDDINGS, "10.0.0.1")
    with pytest.raises(NotAllowed, match="not for chat"):
        bounds.check(Operation.CHAT, "10.0.0.1")
    assert caller_of().bounds is None


def test_a_user_is_one_of_a_tenant_and_a_key_of_nobodys_is_one_by_itself() -> None:
    assert caller_of(user="ann").user == "acme/ann"
    assert caller_of().user == NEW.id
    assert caller_of(counts_as="first").user == "first"
