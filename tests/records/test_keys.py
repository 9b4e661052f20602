from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records import keys
from penstock.records.keys import Key, KeyKind
from tests.records.conftest import InTransaction


def key(number: int, kind: KeyKind = KeyKind.CLIENT, at_ns: int | None = None) -> Key:
    return Key(f"id{number}", kind, bytes([number]) * 32, f"name {number}", "acme", None, at_ns or number)


def test_a_key_comes_back_as_it_was_kept(in_transaction: InTransaction) -> None:
    wanted = [
        key(1),
        msgspec.structs.replace(key(2), models=("chat", "größer"), name="'; DROP TABLE keys; --"),
        key(3, KeyKind.ADMIN),
    ]

    async def case(connection: AsyncConnection) -> object:
        for one in wanted:
            await keys.add(connection, one)
        return [await keys.get(connection, one.id) for one in wanted], await keys.get(connection, "other")

    assert in_transaction(case) == (wanted, None)


def test_a_key_is_revoked_once_and_stays_known(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await keys.add(connection, key(1))
        await keys.add(connection, key(2))
        first = await keys.revoke(connection, "id1", 77)
        again = await keys.revoke(connection, "id1", 88)
        unknown = await keys.revoke(connection, "nobody", 99)
        revoked = await keys.get(connection, "id1")
        assert revoked is not None
        return first, again, unknown, revoked.revoked_at_ns, await keys.valid(connection, KeyKind.CLIENT)

    assert in_transaction(case) == (True, False, False, 77, [key(2)])


def test_only_keys_of_the_kind_that_is_asked_for_are_found(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        before = await keys.ever(connection, KeyKind.ADMIN)
        await keys.add(connection, key(1, KeyKind.ADMIN))
        await keys.revoke(connection, "id1", 5)
        return (
            before,
            await keys.ever(connection, KeyKind.ADMIN),
            await keys.ever(connection, KeyKind.CLIENT),
            await keys.valid(connection, KeyKind.ADMIN),
        )

    assert in_transaction(case) == (False, True, False, [])


def test_pages_go_through_all_keys_even_when_they_were_made_at_the_same_moment(
    in_transaction: InTransaction,
) -> None:
    async def case(connection: AsyncConnection) -> object:
        for number in range(7):
            await keys.add(connection, key(number, at_ns=1 + number // 3))
        await keys.revoke(connection, "id4", 9)
        seen: list[str] = []
        after = None
        while page := await keys.page(connection, 2, after, revoked=False):
            seen += [one.id for one in page]
            after = page[-1].id
        everything = [one.id for one in await keys.page(connection, 100, None, revoked=True)]
        return seen, everything, await keys.page(connection, 10, "no such id", revoked=True)

    assert in_transaction(case) == (
        ["id0", "id1", "id2", "id3", "id5", "id6"],
        [f"id{number}" for number in range(7)],
        [],
    )
