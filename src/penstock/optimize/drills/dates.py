"""Dates and durations; easy: weekdays and whole hours; hard: over the ends of months, and times to the minute."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_FEBRUARY = 1  # its place among the months
_LATER: Final = (
    "Which day is {count} days after {day}?", "Today is {day}. Which day is it in {count} days?",
    "{day} plus {count} days is which day?", "If today is {day}, what day comes {count} days later?",
    "It is {day}. What day will it be in {count} days?", "We meet {count} days after {day}. On which day?",
)  # fmt: skip
_EARLIER: Final = (
    "Which day is {count} days before {day}?", "Today is {day}. Which day was it {count} days ago?",
    "It is {day}. What day was it {count} days ago?", "If today is {day}, what day was {count} days earlier?",
)  # fmt: skip
_HOURS: Final = (
    "How many hours are there from {start}:00 to {end}:00?",
    "A shift goes from {start}:00 to {end}:00. How many hours?",
    "How many hours pass between {start}:00 and {end}:00?", "Open from {start}:00 to {end}:00: how many hours?",
)  # fmt: skip
_DATES: Final = (
    "Which date is {count} days after {month} {day}?", "Today is {month} {day}. Which date is it in {count} days?",
)  # fmt: skip
_MINUTES: Final = (
    "How many h and min is it from {start} to {end}?",
    "A meeting goes from {start} to {end}. How many h and min is that?",
    "A train leaves at {start} and arrives at {end}. How many h and min does it take?",
)  # fmt: skip


def easy(chance: random.Random) -> Drill:
    """Draw a weekday up to seven days away, or whole hours within one day."""
    if chance.random() < 0.3:
        start = chance.randint(0, 20)
        end = chance.randint(start + 1, 23)
        return ask(chance.choice(_HOURS).format(start=start, end=end), str(end - start))
    day, count = chance.randrange(7), chance.randint(2, 7)
    later = chance.random() < 0.6
    other = (day + count if later else day - count) % 7
    question = chance.choice(_LATER if later else _EARLIER)
    return ask(question.format(day=words.DAYS[day], count=count), words.DAYS[other])


def hard(chance: random.Random) -> Drill:
    """Draw a date up to 27 days later in the same year, or a duration of hours and minutes."""
    if chance.random() < 0.5:
        month, count = chance.randrange(11), chance.randint(5, 27)
        # Where February ends depends on the year.
        day = chance.randint(1, words.MONTH_DAYS[month] if month != _FEBRUARY else 28 - count)
        later, rest = month, day + count
        if rest > words.MONTH_DAYS[later]:
            later, rest = later + 1, rest - words.MONTH_DAYS[later]
        question = chance.choice(_DATES).format(count=count, month=words.MONTHS[month], day=day)
        return ask(question, f"{words.MONTHS[later]} {rest}")
    start = chance.randrange(0, 20 * 60, 5)
    hours, minutes = chance.randint(1, 3), chance.randrange(5, 60, 5)
    end = start + 60 * hours + minutes
    return ask(chance.choice(_MINUTES).format(start=_time(start), end=_time(end)), f"{hours} h {minutes} min")


def _time(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}"
