from hypothesis import given
from hypothesis import strategies as st

from penstock.auth import keys

PEPPER = b"p" * 32


def test_a_new_key_has_its_public_id_inside_and_no_dash_in_the_id() -> None:
    new = keys.create(PEPPER)
    assert new.key.startswith("sk-ps-")
    assert keys.key_id(new.key.encode()) == new.id.encode()
    assert "-" not in new.id
    assert new.digest == keys.digest(PEPPER, new.key.encode())


def test_admin_keys_can_be_told_apart() -> None:
    new = keys.create(PEPPER, keys.ADMIN_PREFIX)
    assert new.key.startswith("sk-psadmin-")
    assert keys.key_id(new.key.encode()) == new.id.encode()


def test_digests_depend_on_the_pepper_and_on_every_byte() -> None:
    new = keys.create(PEPPER)
    assert keys.digest(b"q" * 32, new.key.encode()) != new.digest
    assert not keys.matches(new.digest, keys.digest(PEPPER, new.key[:-1].encode()))
    assert keys.matches(new.digest, keys.digest(PEPPER, new.key.encode()))


@given(st.binary(max_size=300))
def test_what_is_no_key_has_at_most_an_id_that_nobody_has(text: bytes) -> None:
    assert keys.key_id(text) in text
    assert len(keys.key_id(text)) <= 12


@given(st.integers(0, 200))
def test_a_damaged_key_has_another_digest(position: int) -> None:
    new = keys.create(PEPPER)
    position %= len(new.key)
    damaged = new.key[:position] + "~" + new.key[position + 1 :]
    assert not keys.matches(new.digest, keys.digest(PEPPER, damaged.encode()))
