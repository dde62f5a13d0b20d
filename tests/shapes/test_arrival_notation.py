"""How rates and arrivals are written, and what is said of what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from tokenswarm.command_line import PointedError
from tokenswarm.shapes.arrival_notation import (
    MOST_RATE,
    ArrivalsError,
    ArrivalsFile,
    parse_arrivals,
    parse_rate_schedule,
    parse_rates,
    parse_times,
)
from tokenswarm.shapes.arrival_process import Constant, Gamma, Poisson, Weibull
from tokenswarm.shapes.rate_schedule import RatePoint, RateSchedule


def pointed(parse: Callable[[str], object], text: str) -> tuple[str, int]:
    """(the message with the option, where the caret points)."""
    with pytest.raises(PointedError) as caught:
        parse(text)
    message, repeated, caret = str(caught.value).split("\n")
    assert repeated == f"  {text}"
    assert caret.strip() == "^"
    return message, len(caret) - 3


@pytest.mark.parametrize(
    ("text", "rates"), [("20", (20.0,)), ("5, 10,20", (5.0, 10.0, 20.0)), ("0.5,inf", (0.5, inf)), ("1e3", (1000.0,))]
)
def test_rates(text: str, rates: tuple[float, ...]) -> None:
    assert parse_rates(text) == rates


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ("", "''", 0),
        ("5,,10", "''", 2),
        ("5,ten", "'ten'", 2),
        ("5, 0", "'0'", 3),
        ("-1", "'-1'", 0),
        ("nan", "'nan'", 0),
        ("5,10, 5.0", "5 is there twice", 6),
        ("10,2000001", f"{MOST_RATE:,}", 3),
    ],
)
def test_a_rate_that_cannot_be_is_pointed_at(text: str, value: str, place: int) -> None:
    message, found = pointed(parse_rates, text)
    assert message.startswith("--rate: ")
    assert (value in message, found) == (True, place)


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("constant", Constant()),
        ("poisson", Poisson()),
        ("gamma:0.5", Gamma(0.5)),
        ("weibull:2", Weibull(2.0)),
        ("times.txt", ArrivalsFile("times.txt")),
        ("./poisson", ArrivalsFile("./poisson")),
    ],
)
def test_arrivals(text: str, process: object) -> None:
    assert parse_arrivals(text) == process


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ("", "''", 0),
        ("posson", "did you mean poisson?", 0),
        ("times", "./times", 0),
        ("gamma", "gamma:0.5", 5),
        ("gamma:", "gamma:0.5", 6),
        ("gamma:x", "'x'", 6),
        ("weibull:0", "'0'", 8),
        ("gamma:0.001", "0.05", 6),
        ("poisson:2", "no shape", 7),
    ],
)
def test_arrivals_that_cannot_be_are_pointed_at(text: str, value: str, place: int) -> None:
    message, found = pointed(parse_arrivals, text)
    assert message.startswith("--arrivals: ")
    assert (value in message, found) == (True, place)


RAMPS = RateSchedule((RatePoint(0, 5), RatePoint(60, 20), RatePoint(120, 5)))


@pytest.mark.parametrize(
    "text",
    [
        "0s:5 60s:20 120s:5",
        " 0:5  1m:20 2m:5.0\n",
        '{"points": [{"time_s": 0, "qps": 5}, {"time_s": 60, "qps": 20}, {"time_s": 120.0, "qps": 5}]}',
        '[{"time_s": 0, "qps": 5}, {"time_s": 60, "qps": 20}, {"time_s": 120, "qps": 5}]',
    ],
)
def test_a_rate_schedule_is_written_in_words_or_in_json(text: str) -> None:
    assert parse_rate_schedule(text) == RAMPS


def test_a_rate_series_of_aiperf_is_a_schedule() -> None:
    series = '{"points":[{"time_s":0,"qps":2},{"time_s":30,"qps":10}]}'
    assert parse_rate_schedule(series) == RateSchedule((RatePoint(0, 2), RatePoint(30, 10)))


def test_a_rate_may_jump_pause_and_end() -> None:
    points = parse_rate_schedule("0s:5 1m:5 1m:0 2m:0 2m:9 3m:0").points
    assert [point.rate for point in points] == [5, 5, 0, 0, 9, 0]


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ("", "0s:5 60s:20", 0),
        ("0s:5 60s", "'60s'", 5),
        ("0s:5 60s:", "''", 9),
        ("0s:5 soon:7", "'soon'", 5),
        ("0s:5 60s:fast", "'fast'", 9),
        ("0s:5 60s:-1", "'-1'", 9),
        ("0s:5 60s:inf", "'inf'", 9),
        ("10s:5 60s:20", "10s", 0),
        ("0s:5 60s:20 30s:5", "60s", 12),
        ("0s:5 60s:20 60s:5 60s:7", "two points", 18),
        ("0s:0 60s:0", "above 0", 5),
        ("0s:5 0s:0", "above 0", 5),
    ],
)
def test_a_rate_schedule_that_cannot_be_is_pointed_at(text: str, value: str, place: int) -> None:
    message, found = pointed(parse_rate_schedule, text)
    assert message.startswith("--rate-schedule: ")
    assert (value in message, found) == (True, place)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[]", ["one point"]),
        ('{"points": 5}', ["$.points"]),
        ('[{"time_s": 0, "qps": -1}]', ["qps"]),
        ('[{"time_s": 0, "rate": 1}]', ["rate"]),
        ('[{"time_s": 0, "qps": 1}', ["rates.json"]),
        ('[{"time_s": 5, "qps": 1}]', ["point 1", "5s"]),
        ('[{"time_s": 0, "qps": 1}, {"time_s": 9, "qps": 1}, {"time_s": 8, "qps": 1}]', ["point 3", "9s", "8s"]),
    ],
)
def test_json_that_is_no_rate_schedule_is_refused_with_its_file_and_place(text: str, values: list[str]) -> None:
    with pytest.raises(ArrivalsError) as refused:
        parse_rate_schedule(text, "rates.json")
    assert str(refused.value).startswith("--rate-schedule: rates.json: ")
    assert [value for value in values if value not in str(refused.value)] == []


def test_a_file_of_times() -> None:
    times = parse_times(["# from a trace\n", "0.5\n", "\n", " 0.5 \n", "1e1\n"], "times.txt")
    assert times.tolist() == [0.5, 0.5, 10.0]


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (["# none"], ["times.txt"]),
        (["1", "one"], ["line 2", "'one'"]),
        (["1", "-2"], ["line 2", "'-2'"]),
        (["nan"], ["line 1", "'nan'"]),
        (["1e999"], ["line 1", "'1e999'"]),
        (["3", "", "2"], ["line 3", "3 s", "2"]),
    ],
)
def test_a_file_that_holds_no_times_is_refused_with_its_line(lines: list[str], values: list[str]) -> None:
    with pytest.raises(ArrivalsError) as refused:
        parse_times(lines, "times.txt")
    assert [value for value in ["--arrivals", *values] if value not in str(refused.value)] == []
