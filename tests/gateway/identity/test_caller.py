import pytest

from penstock.auth import keys
from penstock.gateway.identity.caller import authenticate, compile_callers
from penstock.snapshot.principals import KeyRecord
from penstock.types.errors import Unauthenticated

PEPPER = b"p" * 32
NEW = keys.create(PEPPER)
KNOWN = compile_callers({NEW.id: KeyRecord(NEW.id, NEW.digest, "acme", ("chat",))})


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
