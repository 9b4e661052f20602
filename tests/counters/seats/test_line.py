"""Who is next and who has to go: the line of one deployment, in virtual time."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from penstock.counters.seats.line import Line, Waiter
from penstock.counters.seats.seat import Size
from penstock.types.priority import Priority

PRIORITIES = st.sampled_from(Priority)
TENANTS = st.sampled_from(["red", "blue", "green"])


class Shop:
    """A line, with names for those who wait."""

    def __init__(self, seats: int, most: int) -> None:
        self.line = Line()
        self.line.size = Size(seats, most)
        self.number = 0

    def come(self, tenant: str, priority: Priority = Priority.NORMAL, holder: int = 0) -> Waiter:
        self.number += 1
        waiter = Waiter(holder, self.number, tenant, priority)
        self.line.join(waiter)
        return waiter

    def seated(self) -> list[str]:
        return [waiter.tenant for waiter in self.line.advance()]

    def turns(self, *leaving: str) -> list[str]:
        """Let tenants give a seat back, one after the other; return who got it."""
        found = []
        for tenant in leaving:
            self.line.give(0, tenant)
            found += self.seated()
        return found


def test_a_tenant_with_fewer_seats_goes_before_one_with_more() -> None:
    shop = Shop(4, 100)
    for _ in range(20):
        shop.come("noisy")
    assert shop.seated() == ["noisy"] * 4
    for _ in range(3):
        shop.come("quiet")
    assert shop.turns(*["noisy"] * 4) == ["quiet", "quiet", "noisy", "noisy"], "each has two of four then"
    assert shop.turns("quiet") == ["quiet"]


def test_tenants_with_as_many_take_turns_and_each_in_its_own_order() -> None:
    shop = Shop(1, 100)
    shop.come("other")
    assert shop.seated() == ["other"]
    came = [shop.come(tenant) for tenant in ("red", "red", "blue", "blue", "blue", "red")]
    order: list[Waiter] = []
    for _ in came:
        shop.line.give(0, (["other"] + [waiter.tenant for waiter in order])[-1])
        order += shop.line.advance()
    assert [waiter.tenant for waiter in order] == ["red", "blue"] * 3
    assert [waiter for waiter in order if waiter.tenant == "red"] == [came[0], came[1], came[5]]


def test_a_higher_priority_goes_first_whatever_its_tenant_has() -> None:
    shop = Shop(2, 100)
    shop.come("greedy")
    shop.come("greedy")
    assert shop.seated() == ["greedy", "greedy"]
    shop.come("poor", Priority.LOW)
    shop.come("middling")
    shop.come("greedy", Priority.HIGH)
    assert shop.turns("greedy", "greedy", "middling") == ["greedy", "middling", "poor"]


def test_when_too_many_wait_the_newest_of_whoever_has_most_goes() -> None:
    shop = Shop(2, 5)
    waiters = [shop.come("noisy") for _ in range(5)]
    assert shop.seated() == ["noisy", "noisy"]
    assert shop.line.trim() == []
    newcomer = shop.come("noisy")
    assert shop.line.trim() == [newcomer]
    shop.come("quiet")
    assert shop.line.trim() == [waiters[4]]
    shop.come("quiet")
    assert shop.line.trim() == [waiters[3]]
    last = shop.come("quiet")
    assert shop.line.trim() == [last], "two seats and one that waits against none and three: nobody has fewer"


def test_whoever_holds_all_seats_makes_room_in_a_line_of_one() -> None:
    shop = Shop(2, 3)
    last = [shop.come("noisy") for _ in range(3)][-1]
    assert shop.seated() == ["noisy", "noisy"]
    shop.come("quiet")
    assert shop.line.trim() == [last]


def test_a_lower_priority_makes_room_for_a_higher_one() -> None:
    shop = Shop(0, 2)
    first = shop.come("quiet", Priority.LOW)
    shop.come("noisy")
    shop.come("noisy")
    assert shop.line.trim() == [first]
    newcomer = shop.come("quiet", Priority.LOW)
    assert shop.line.trim() == [newcomer]


def test_a_seat_that_is_used_for_another_tenant_counts_for_that_one() -> None:
    shop = Shop(2, 100)
    for _ in range(2):
        shop.come("red")
    assert shop.seated() == ["red", "red"]
    shop.line.rename(0, "red", "blue")
    shop.line.rename(0, "red", "blue")
    shop.come("blue")
    shop.come("red")
    assert shop.turns("blue") == ["red"]


def test_the_end_of_a_worker_frees_what_it_had_and_nobody_waits_there_any_more() -> None:
    shop = Shop(3, 100)
    for holder in (1, 2, 2, 2, 1):
        shop.come("red", holder=holder)
    assert len(shop.seated()) == 3
    shop.line.gone(2)
    assert (shop.line.taken, shop.line.waiting) == (1, 1)
    assert shop.seated() == ["red"]
    shop.line.gone(1)
    assert (shop.line.taken, shop.line.waiting) == (0, 0)


@given(
    st.integers(0, 4),
    st.integers(0, 5),
    st.lists(
        st.one_of(
            st.tuples(st.just("come"), TENANTS, PRIORITIES, st.integers(0, 2)),
            st.tuples(st.just("give"), st.integers(0, 100)),
            st.tuples(st.just("leave"), st.integers(0, 100)),
            st.tuples(st.just("resize"), st.integers(0, 5), st.integers(0, 5)),
            st.tuples(st.just("gone"), st.integers(0, 2)),
        ),
        max_size=80,
    ),
)
def test_seats_are_never_exceeded_none_lies_free_while_somebody_waits_and_everybody_has_one_fate(
    seats: int, room: int, steps: list[tuple[str, ...]]
) -> None:
    shop = Shop(seats, seats + room)
    line, waiting, sitting = shop.line, list[Waiter](), list[Waiter]()
    for step in steps:
        before = line.taken
        match step:
            case ("come", tenant, priority, holder):
                waiting.append(shop.come(tenant, priority, holder))  # type: ignore[arg-type]  # hypothesis mixes the kinds of steps
            case ("give", number) if sitting:
                given = sitting.pop(int(number) % len(sitting))
                line.give(given.holder, given.tenant)
            case ("leave", number) if waiting:
                line.leave(waiting.pop(int(number) % len(waiting)))
            case ("resize", now, more):
                line.size = Size(int(now), int(now) + int(more))
            case ("gone", number):
                line.gone(int(number))
                waiting = [waiter for waiter in waiting if waiter.holder != int(number)]
                sitting = [waiter for waiter in sitting if waiter.holder != int(number)]
        for waiter in line.advance():
            waiting.remove(waiter)
            sitting.append(waiter)
        for waiter in line.trim():
            waiting.remove(waiter)
        assert line.taken == len(sitting) <= max(line.size.seats, before)
        assert line.waiting == len(waiting) <= line.size.most - line.size.seats
        assert not waiting or line.taken >= line.size.seats


@given(st.lists(TENANTS, max_size=6), st.lists(TENANTS, max_size=30), TENANTS)
def test_as_many_are_ahead_as_are_served_before_if_seats_are_added(
    sitting: list[str], others: list[str], tenant: str
) -> None:
    shop = Shop(len(sitting), 1000)
    for each in sitting:
        shop.come(each)
        shop.seated()
    for each in others:
        shop.come(each)
    last = shop.come(tenant)
    told, before = shop.line.ahead(last), 0
    while True:
        shop.line.size = Size(shop.line.size.seats + 1, 1000)
        (served,) = shop.line.advance()
        if served is last:
            break
        before += 1
    assert told == before


def test_all_of_a_higher_priority_are_ahead() -> None:
    shop = Shop(0, 100)
    for priority in Priority:
        shop.come("red", priority)
        shop.come("blue", priority)
    assert shop.line.ahead(shop.come("green", Priority.NORMAL)) == 4


SERVICE_S = 1.0


class Stage:
    """Seats whose exchanges all take the same time, and a tenant that keeps the whole line full of its own."""

    def __init__(self, seats: int, room: int) -> None:
        self.shop = Shop(seats, seats + room)
        self.room = room
        self.now = 0.0
        self.ends: list[tuple[float, int, str]] = []
        self.came: dict[int, float] = {}  # of the quiet tenant's that wait
        self.waits: list[float] = []

    def settle(self) -> None:
        """Seat those whose turn it is, and let the noisy tenant fill the line up."""
        line = self.shop.line
        while True:
            for waiter in line.advance():
                heapq.heappush(self.ends, (self.now + SERVICE_S, waiter.number, waiter.tenant))
                if waiter.number in self.came:
                    self.waits.append(self.now - self.came.pop(waiter.number))
            for waiter in line.trim():
                assert waiter.number not in self.came, "the noisy tenant makes room"
            if line.waiting == self.room:
                return
            self.shop.come("noisy")

    def until(self, moment: float) -> None:
        """Let exchanges end."""
        while self.ends and self.ends[0][0] < moment:
            self.now, _, tenant = heapq.heappop(self.ends)
            self.shop.line.give(0, tenant)
            self.settle()
        self.now = moment

    def quiet(self) -> None:
        """Let one of the quiet tenant's come."""
        self.came[self.shop.come("quiet").number] = self.now
        self.settle()


@given(st.integers(1, 8), st.integers(1, 64), st.lists(st.floats(0.01, 3), min_size=1, max_size=30))
def test_one_that_asks_for_less_than_its_share_waits_for_one_seat_and_no_longer(
    seats: int, room: int, pauses: list[float]
) -> None:
    stage = Stage(seats, room)
    stage.settle()
    at = 0.5
    for pause in pauses:
        stage.until(at)
        stage.quiet()
        at += 2 * SERVICE_S + pause  # so it never needs more than one seat
    stage.until(at)
    assert len(stage.waits) == len(pauses)
    assert max(stage.waits) <= SERVICE_S
