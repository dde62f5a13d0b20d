"""The one place where a report's numbers become text. Undefined is a dash, never a zero."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from tokenswarm.metrics.quantiles import Quantile, fewest_for_interval

UNDEFINED = "–"
NOT_CERTIFIED = "*"
#: The one phrase for a figure that has no interval, or none of its ends.
SAMPLE_TOO_SMALL = "sample too small"
#: Why a comparison decides nothing.
TOO_FEW = "too few runs or requests"
NOT_CERTIFIED_SHORT = (
    "* A rough value: the level had too few requests for a whole 95 % interval: one or both ends are "
    "unknown. A whole interval takes at least "
    f"{fewest_for_interval(0.5)} requests for p50, {fewest_for_interval(0.9)} for p90, {fewest_for_interval(0.95)} for "
    f"p95 and {fewest_for_interval(0.99)} for p99, and many more where successive latencies are similar, as is usual "
    "under load"
)
NOT_CERTIFIED_NOTE = (
    f"{NOT_CERTIFIED_SHORT}. With few requests, p95 and p99 are close to the slowest request. A longer level has more "
    "requests: set --level-time, or --run-time if the run has --users (or let a load shape of your own last longer)."
)

# Decimals at which a number shows three significant digits, by its size: 9.99 is the last to need two.
_THREE_DIGITS = ((9.995, 2), (99.95, 1))


def duration(seconds: float | None) -> str:
    """A duration in seconds as text: `12.3 ms`, `253 ms`, `1.24 s`."""
    if seconds is None or not math.isfinite(seconds):
        return UNDEFINED
    factor, unit = duration_axis(seconds)
    return f"{_number(seconds * factor)} {unit}"


def duration_axis(top_s: float) -> tuple[float, str]:
    """The unit for durations up to `top_s` seconds, and what to multiply seconds by: (1000, "ms") below 1 s."""
    # 0.9995 s would read "1,000 ms".
    return (1000.0, "ms") if abs(top_s) < 0.9995 else (1.0, "s")


def dollars(usd: float | None) -> str:
    """Two decimals, four below one dollar: $12.30, $0.0412."""
    if usd is None:
        return UNDEFINED
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}"


def rate(per_s: float | None) -> str:
    """A rate per second as text, its unit left to the heading: `2.43`, `24.3`, `2,431`."""
    return UNDEFINED if per_s is None or not math.isfinite(per_s) else _number(per_s)


def statistic(value: float | None) -> str:
    """A share, a chance or an index to two digits: `0.043`, `1.02`, `< 0.001`."""
    if value is None:
        return UNDEFINED
    if 0 < value < 0.001:
        return "< 0.001"
    return f"{value:.2g}" if value < 1 else f"{value:.2f}"


def tick(value: float) -> str:
    """A number beside an axis: `0`, `0.5`, `2,500`, as long as it must be and no longer."""
    return f"{value:,.10g}"


def amount(value: float | None) -> str:
    """A number of things that may be a mean: `5`, `5.25`."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return count(round(value)) if value == round(value) else _number(value)


def count(number: int) -> str:
    """A whole number: `12,345`."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A whole number of things: `1 failure`, `2 failures`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def users(mean: float) -> str:
    """A mean number of users, one decimal where it is no whole number: `10`, `7.1`, `1,234`."""
    return f"{mean:,.1f}".removesuffix(".0")


def users_of(mean: float, requested: int) -> str:
    """A mean number of users beside the number requested: `7.1`, with two decimals where one would hide that they
    differ: `1.96`, `2.00`."""
    text = users(mean)
    return f"{mean:,.2f}" if mean != requested and text == users(requested) else text


def percentage(fraction: float | None) -> str:
    """A fraction (0 to 1) in percent, one decimal: `98.2 %`. Only all is `100 %`, and only nothing `0 %`."""
    if fraction is None or not math.isfinite(fraction):
        return UNDEFINED
    if fraction in (0, 1):
        return f"{fraction * 100:.0f} %"
    # Between the two, rounding may not claim either.
    return f"{min(max(fraction * 100, 0.1), 99.9):.1f} %" if 0 < fraction < 1 else f"{fraction * 100:.1f} %"


def signed(value: float) -> str:
    """A change, its sign in front: `+7.1`, `−0.4`, `0.0`."""
    rounded = round(value, 1)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded):,.1f}"


def quantile(figure: Quantile | None) -> str:
    """A percentile in seconds: `253 ms`, with a `*` where it is not certified."""
    return UNDEFINED if figure is None else duration(figure.value) + mark(figure)


def rate_quantile(figure: Quantile | None) -> str:
    """A percentile of rates (per second), marked like a duration's."""
    return UNDEFINED if figure is None else rate(figure.value) + mark(figure)


def mark(figure: Quantile) -> str:
    """`*` for a percentile that is not certified, nothing for one that is."""
    return "" if figure.certified else NOT_CERTIFIED


def interval(figure: Quantile | None) -> str:
    """A percentile's 95 % interval in seconds: `240–270 ms`, `990 ms–1.02 s`, `≥ 240 ms` without an upper end, `≤ 270
    ms` without a lower one (which is 0 or None then), a dash without both."""
    if figure is None:
        return UNDEFINED
    low, high = figure.low or None, figure.high
    return open_span(*(None if end is None else duration(end) for end in (low, high)))


def span(low: str, high: str) -> str:
    """Two figures as the ends of an interval, a unit that they share written once: `240–270 ms`, `990 ms–1.02 s`."""
    low_number, _, low_unit = low.partition(" ")
    return f"{low_number}–{high}" if low_unit == high.partition(" ")[2] else f"{low}–{high}"


def open_span(low: str | None, high: str | None) -> str:
    """The same where an end may be unknown: `≥ 240 ms`, `≤ 270 ms`, a dash where both are."""
    if low is None:
        return UNDEFINED if high is None else f"≤ {high}"
    return f"≥ {low}" if high is None else span(low, high)


def rate_interval(low: float | None, high: float | None) -> str:
    """The 95 % interval of a rate (per second): `2,410–2,460`, `≤ 90.3` and `≥ 41.0` where one end is not known (0 for
    the lower one), a dash without both."""
    return open_span(*(None if not end else rate(end) for end in (low, high)))


def two_decimals(value: float) -> str:
    """A number with two decimals, whatever its size, as a ratio is shown: `1.24`."""
    return f"{value:,.2f}" if math.isfinite(value) else UNDEFINED


def index(value: float) -> str:
    """An index from 0 to 1: `0.998`, always three decimals."""
    return f"{value:.3f}"


def clock(elapsed_s: float) -> str:
    """Elapsed seconds as a clock shows them: `0:05`, `12:34`, `1:02:03`."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def hours(elapsed_s: float) -> str:
    """Elapsed seconds in hours and minutes: `0:05`, `12:30`."""
    whole, minutes = divmod(round(elapsed_s / 60), 60)
    return f"{whole}:{minutes:02}"


def planned_time(seconds: float) -> str:
    """A planned length of time: `20 s`, `5 min`, `90 s`, `3 h`."""
    if seconds >= 3600 and seconds % 60 == 0:
        return length_of_time(seconds)
    if seconds >= 60 and seconds % 60 == 0:
        return f"{seconds / 60:g} min"
    return f"{round(seconds, 2):g} s" if seconds >= 1 else f"{seconds:.3g} s"


def length_of_time(seconds: float) -> str:
    """A length of time that nobody set, in units that cannot be mistaken: `14 s`, `6 min 20 s`, `1 h 5 min`."""
    if seconds < 60:
        return planned_time(seconds)
    minutes, left_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (left_s, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def moment(when: datetime) -> str:
    """A point in time, to the minute: `2024-06-05 14:03 UTC`. One without a zone is taken as UTC."""
    return f"{utc(when):%Y-%m-%d %H:%M} UTC"


def utc(when: datetime) -> datetime:
    """The same point in time in UTC. One without a zone is taken as UTC."""
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)


def set_duration(seconds: float) -> str:
    """A duration that somebody set, as it was set: `60 ms`, `1.5 s`."""
    factor, unit = duration_axis(seconds)
    return f"{seconds * factor:.10g} {unit}"


def set_share(fraction: float) -> str:
    """A share that somebody set, as it was set: `95 %`, `99.9 %`."""
    return f"{fraction * 100:.10g} %"


def objective(name: str, value: float) -> str:
    """An objective as it was set: `ttft_s`, 0.5 gives `ttft ≤ 500 ms`."""
    return f"{name.removesuffix('_s')} ≤ {set_duration(value)}" if name.endswith("_s") else f"{name} {value:g}"


def _number(value: float) -> str:
    size = abs(value)
    if 0 < size < 0.9995:
        # Below one, three decimals are enough: a duration of that size is already below a millisecond.
        return f"{value:.3f}"
    decimals = next((decimals for limit, decimals in _THREE_DIGITS if size < limit), 0) if size else 0
    return f"{value:,.{decimals}f}"
