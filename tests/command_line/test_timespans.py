"""Times as options take them, and as they are shown again."""

from __future__ import annotations

import pytest

from tokenswarm.command_line import TimespanError, parse_timespan, timespan_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300", 300.0),
        ("20s", 20.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h30m10s", 5410.0),
        ("1h10s", 3610.0),
        ("0.5s", 0.5),
        ("1.5m", 90.0),
        (" 20s ", 20.0),
        ("0", 0.0),
        ("500ms", 0.5),
        ("1s500ms", 1.5),
        ("1h30m10s250ms", 5410.25),
        ("1m1ms", 60.001),
        ("1.5ms", 0.0015),
        ("0ms", 0.0),
    ],
)
def test_timespans_are_read_in_hours_minutes_seconds_and_milliseconds(text: str, seconds: float) -> None:
    assert parse_timespan("--ramp", text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "5 m", "10m5h", "-5s", "1e3", "inf", ".5s", "1h30", "5m30", "٣s"),
        *("500ms1s", "1s500", "500m s", "500 ms", "5ms5ms", "ms", "500MS", "-1ms", "1us"),
    ],
)
def test_a_timespan_that_cannot_be_read_names_its_option(text: str) -> None:
    with pytest.raises(TimespanError) as refused:
        parse_timespan("--settle", text)
    assert str(refused.value) == f"--settle takes a time like 500ms, 20s, 5m or 1h30m, got {text!r}."


@pytest.mark.parametrize("text", ["0", "0s", "0h0ms"])
def test_a_timespan_above_zero_is_not_zero(text: str) -> None:
    with pytest.raises(TimespanError):
        parse_timespan("--idle-timeout", text, above_zero=True)


@pytest.mark.parametrize("text", ["20s", "5m", "1h30m", "500ms", "1h10s", "1m1ms", "0s"])
def test_a_timespan_is_shown_as_it_is_given(text: str) -> None:
    assert timespan_text(parse_timespan("--ramp", text)) == text
