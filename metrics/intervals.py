"""95 % intervals of figures from one run, and of what differs between two. Pure.

Values that resemble the ones before them are worth fewer independent ones. All intervals allow for that:

Quantiles: order statistics, at the number of independent values that the sample is worth.
Shares: Wilson's score interval, at the same number.
Shares within a bound: the same, the correlation looked for in the values that are held against the bound.
Means and rates: Student's t over the low cosine frequencies of the series (equal-weighted cosine estimator of the
long-run variance: Lazarus, Lewis, Stock and Watson, HAR Inference, JBES 2018). Windows of a run are correlated; a
bootstrap of moving blocks, recommended for them as often, covers 82 to 92 % where this covers 93 (56 windows, lag-1
correlation 0.5 to 0.7).
Differences and ratios: the two figures' own intervals combined (MOVER: Zou and Donner, Statistics in Medicine 2008).

tests/metrics/test_coverage.py holds them to 92 to 98 %, on independent, autoregressive and queueing data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import atan, cos, exp, log, pi, sin, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.quantiles import FEWEST, correlated_ranks, rank, score_interval

Series = NDArray[np.float64]
#: Whether each of a series has a property, as truth values or as 1 and 0.
Marks = NDArray[np.bool_] | Series

_Z = NormalDist().inv_cdf(0.975)
#: Fewer windows or latencies than this carry no interval: no cosine would show a correlation of some of them.
FEWEST_FOR_A_MEAN = 12
#: Low frequencies that the variance of a long series is measured on. More would miss correlations that last.
MOST_COSINES = 12
#: Latencies that are correlated are measured on one low frequency for so many of them: their mean is far from normal
#: where a hold has seen only a few of the periods in which a server is busy.
_LATENCIES_PER_COSINE = 300
#: The first autocorrelation from which on few values are taken as correlated.
_CORRELATED = 0.1
#: How many times wider the interval of windows of a rate then is: (fewer than so many windows, factor).
_WIDER = ((16, 2.0), (56, 1.5))
#: Fewer latencies do not show whether they are correlated.
_FEW_LATENCIES = 80
#: Low frequencies that the variance of marks is measured on, at least.
_FEWEST_COSINES_OF_MARKS = 4
#: Beyond a percentile or a bound there are to be so many values for their correlation to show. Where there are fewer,
#: it is looked for at a milder percentile too.
_FEWEST_BEYOND = 25
#: A share is also held against the percentile with so many beyond it, where that is near: of so many values, or with
#: so many beyond the bound.
_BEYOND_OF_A_SHARE, _NEAR_OF, _NEAR_FROM = 100, 500, 20
#: Lags that are looked at one by one; further ones all at once.
_SINGLE_LAGS = 32
#: Repeated runs from which their own spread makes an interval.
FEWEST_RUNS = 3
#: Half an interval that is a smaller share of its value is made of rounding errors.
_ROUNDING = 1e-9
_FEW_DEGREES = (12.7062, 4.3027, 3.1824, 2.7764)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval. An end is None where the sample is too small for it; `count`: the sample.
    inflation: of a share of marks of which nothing else is known, how many times more there are than independent ones,
    as far as they show it."""

    value: float
    low: float | None
    high: float | None
    count: int
    inflation: float | None = None

    @property
    def certified(self) -> bool:
        """Whether the interval has both its ends."""
        return self.low is not None and self.high is not None

    def excludes(self, value: float) -> bool:
        """Whether the interval is known to lie wholly above or wholly below `value`."""
        return (self.low is not None and self.low > value) or (self.high is not None and self.high < value)


@dataclass(frozen=True, slots=True)
class Pooled:
    """A figure over repeated runs: the mean of the runs' values, its interval, the smallest and the largest run, and
    each run's own figure."""

    estimate: Estimate
    smallest: float
    largest: float
    runs: tuple[Estimate, ...] = ()


def quantile_of(series: Series, p: float) -> Estimate | None:
    """The p-quantile (0 < p < 1) of values in the order of time: the value of rank ceil(p n). None without values.
    Without an interval where there are fewer than 40."""
    n = len(series)
    if not n:
        return None
    ascending = np.sort(series)
    value = float(ascending[rank(n, p) - 1])
    if n < FEWEST:
        return Estimate(value, None, None, n)
    low_rank, high_rank = correlated_ranks(n, p, independent_at(series, p))
    return Estimate(
        value,
        float(ascending[low_rank - 1]) if low_rank else 0.0,
        float(ascending[high_rank - 1]) if high_rank <= n else None,
        n,
    )


def independent_at(series: Series, p: float) -> float:
    """How many independent values those of a series in the order of time (at least one) are worth for the interval of
    their p-quantile (0 < p < 1), at most all of them."""
    n = len(series)
    shares = {p, _milder(p, n, _FEWEST_BEYOND)}
    ordered = np.partition(series, [rank(n, share) - 1 for share in shares])
    return n / max(_inflation(series <= ordered[rank(n, share) - 1]) for share in shares)


def mean_of(latencies: Series) -> Estimate | None:
    """The mean of values above 0 in the order of time. None without values. Without an interval where there are fewer
    than 12, and where all are equal. The interval is even on the scale of logarithms, as latencies are skewed."""
    n = len(latencies)
    if not n:
        return None
    value = float(latencies.mean())
    if n < FEWEST_FOR_A_MEAN or value <= 0.0:
        return Estimate(value, None, None, n)
    half = _half_width(latencies, _cosines_of_latencies(latencies))
    if half <= _ROUNDING * value:
        return Estimate(value, None, None, n)
    factor = exp(half / value)
    return Estimate(value, value / factor, value * factor, n)


def rate_of(windows: Series) -> Estimate | None:
    """The mean of what came in each of successive windows of one length. None without values. Without an interval where
    there are fewer than 12, and where all are equal."""
    n = len(windows)
    if not n:
        return None
    value = float(windows.mean())
    if n < FEWEST_FOR_A_MEAN:
        return Estimate(value, None, None, n)
    return plus_minus(value, _wider(windows) * _half_width(windows, _cosines(n)), n)


def plus_minus(value: float, half: float, count: int, scale: float = 0.0) -> Estimate:
    """value ± half, the interval's half width. Without an interval where that is 0, or what rounding makes of 0 in
    numbers of the size of `value` or `scale`: values that are all equal show nothing of how they vary."""
    if half <= _ROUNDING * max(abs(value), scale):
        return Estimate(value, None, None, count)
    return Estimate(value, value - half, value + half, count)


def share_of(marked: Marks) -> Estimate | None:
    """The share (0 to 1) of those that are marked, in the order of time, of which nothing else is known; None of
    nothing. Its interval is Wilson's, at as many independent ones as they are worth. Fewer than 25 marked ones, or
    others, do not show how they come together: they have no interval (see of_one_correlation for two to be
    compared)."""
    n = len(marked)
    if not n:
        return None
    share, inflation = float(marked.mean()), _inflation(marked)
    if n < FEWEST or n * min(share, 1.0 - share) < _FEWEST_BEYOND:
        return Estimate(share, None, None, n, inflation)
    return replace(_wilson(share, n, inflation), inflation=inflation)


def of_one_correlation(shares: Sequence[Estimate]) -> list[Estimate]:
    """Shares of marks (share_of) that are to be compared: all with Wilson's interval at the largest inflation of any,
    as one that has no marks does not show that they come in bunches. Those of fewer than 40, and other estimates, as
    they are."""
    inflations = [share.inflation if share.count >= FEWEST else None for share in shares]
    largest = max((inflation for inflation in inflations if inflation is not None), default=1.0)
    return [
        share if inflation is None else _wilson(share.value, share.count, largest)
        for share, inflation in zip(shares, inflations, strict=True)
    ]


def share_within(values: Series, bound: float) -> Estimate | None:
    """The share (0 to 1) of values in the order of time that are at most `bound`, and its interval. Few on one side of
    it do not show how they come together: the correlation is also looked for at percentiles nearer to the median, with
    25 beyond them, and with 100 where these are near the bound. None of nothing. Fewer than 40 have no interval."""
    n = len(values)
    if not n:
        return None
    within = values <= bound
    share = float(within.mean())
    if n < FEWEST:
        return Estimate(share, None, None, n)
    near = n >= _NEAR_OF or n * min(share, 1.0 - share) >= _NEAR_FROM
    beyond = (_FEWEST_BEYOND, _BEYOND_OF_A_SHARE) if near else (_FEWEST_BEYOND,)
    places = {rank(n, _milder(share, n, fewest)) - 1 for fewest in beyond}
    ordered = np.partition(values, sorted(places))
    marks = [within, *(values <= ordered[place] for place in places)]
    return _wilson(share, n, max(map(_inflation, marks)))


def _wilson(share: float, n: int, inflation: float) -> Estimate:
    low, high = score_interval(share, n / inflation)
    # Of none and of all the end is exact; the sums miss it by their rounding.
    return Estimate(share, 0.0 if share == 0.0 else low, 1.0 if share == 1.0 else high, n)


def difference(new: Estimate, base: Estimate) -> Estimate:
    """new − base."""
    value = new.value - base.value
    below = _combined(_reach(new.value, new.low), _reach(base.high, base.value))
    above = _combined(_reach(new.high, new.value), _reach(base.value, base.low))
    return Estimate(
        value,
        None if below is None else value - below,
        None if above is None else value + above,
        min(new.count, base.count),
    )


def ratio(new: Estimate, base: Estimate) -> Estimate | None:
    """new / base, by the difference of the logarithms. None unless both values are above 0."""
    if new.value <= 0 or base.value <= 0:
        return None
    of_logs = difference(_logarithm(new), _logarithm(base))
    return Estimate(
        new.value / base.value,
        None if of_logs.low is None else exp(of_logs.low),
        None if of_logs.high is None else exp(of_logs.high),
        of_logs.count,
    )


def pooled(runs: Sequence[Estimate]) -> Pooled:
    """Repeated runs of one thing (at least one). From three on, the interval is Student's t of the runs' values: what
    differs from run to run is in it, and in none of their own. One run keeps its own; two have none, nor have
    equal values."""
    values = np.array([run.value for run in runs])
    count = sum(run.count for run in runs)
    if len(runs) == 1:
        estimate = runs[0]
    elif len(runs) < FEWEST_RUNS:
        estimate = Estimate(float(values.mean()), None, None, count)
    else:
        mean = float(values.mean())
        half = student_t(len(runs) - 1) * float(values.std(ddof=1)) / sqrt(len(runs))
        estimate = plus_minus(mean, half, count)
    return Pooled(estimate, float(values.min()), float(values.max()), tuple(runs))


def correlation_inflation(series: Series) -> float:
    """How many times more values than independent ones a series holds, at least 1: 1 + 2 Σ of its autocorrelations, up
    to the first lag at which nothing differs from noise (Bartlett's 1.96/√n)."""
    n = len(series)
    if n < 2:
        return 1.0
    centred = series - series.mean()
    power = float(centred @ centred)
    if power == 0.0:
        return 1.0
    noise, total = _Z / sqrt(n), 0.0
    for lag in range(1, min(_SINGLE_LAGS, n // 2) + 1):
        correlation = float(centred[lag:] @ centred[:-lag]) / power
        if correlation < noise:
            return 1.0 + 2.0 * total
        total += correlation
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    correlations = np.fft.irfft(spectrum, size)[1 : n // 2 + 1] / power
    below = np.flatnonzero(correlations < noise)
    until = int(below[0]) if len(below) else len(correlations)
    return 1.0 + 2.0 * float(correlations[:until].sum())


def low_frequency_inflation(series: Series, cosines: int) -> float:
    """The same from the variance at so many low frequencies over that of the values: it shows correlations of many
    values that are each within the noise. 1 where all values are equal."""
    variance = float(series.var())
    return long_run_variance_of_mean(series, cosines) / variance if variance else 1.0


def _milder(share: float, n: int, fewest: int) -> float:
    """This share (0 to 1) of n values, or one nearer to a half, which has so many values beyond it."""
    return min(share, max(0.5, 1 - fewest / n)) if share > 0.5 else max(share, min(0.5, fewest / n))


def _inflation(marked: Marks) -> float:
    """How many times more marks than independent ones there are for an interval of 95 %, at least 1: by the variance at
    low frequencies where a mark shows a correlation with the one before it. That variance is itself known from few
    parts only, by so much as Student's t exceeds the normal distribution."""
    series = marked.astype(np.float64)
    n, cosines = len(series), max(_FEWEST_COSINES_OF_MARKS, _cosines(len(series)))
    if n <= 2 * cosines or _first_autocorrelation(series) < min(_CORRELATED, _Z / sqrt(n)):
        return 1.0
    return max(1.0, low_frequency_inflation(series, cosines) * (student_t(cosines) / _Z) ** 2)


def _first_autocorrelation(series: Series) -> float:
    """0 where all values are equal."""
    centred = series - series.mean()
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power else 0.0


def _half_width(series: Series, cosines: int) -> float:
    """Half of the interval of a mean whose variance is measured on so many low frequencies."""
    return student_t(cosines) * sqrt(long_run_variance_of_mean(series, cosines) / len(series))


def _cosines_of_latencies(series: Series) -> int:
    """On how many low frequencies latencies are measured: few where they are correlated, and where they are too few to
    show it."""
    n = len(series)
    if n >= _FEW_LATENCIES and correlation_inflation(series) == 1.0:
        return _cosines(n)
    return max(1, min(_cosines(n), round(n / _LATENCIES_PER_COSINE)))


def _wider(windows: Series) -> float:
    """How many times wider the interval of a rate is than its low frequencies make it: few windows that are correlated
    show only a part of that."""
    factor = next((factor for below, factor in _WIDER if len(windows) < below), 1.0)
    return factor if _first_autocorrelation(windows) > _CORRELATED else 1.0


def _cosines(n: int) -> int:
    """How many low frequencies a series of n values is measured on."""
    cosines: int = max(2, min(MOST_COSINES, round(0.2 * n ** (2 / 3))))
    return cosines


def long_run_variance(series: Series, cosines: int, known: Sequence[Series]) -> float:
    """n × the variance of the mean of so long a correlated series: the mean square of its parts along the lowest cosine
    frequencies. `known`: shapes of its course, as long as it, that are no noise (the constant at least)."""
    n = len(series)
    middles = (np.arange(n) + 0.5) / n
    waves = [np.cos(np.pi * wave * middles) for wave in range(1, cosines + len(known) + 1)]
    basis, _ = np.linalg.qr(np.column_stack([*known, *waves]))
    parts = (series - series.mean()) @ basis[:, len(known) : len(known) + cosines]
    return float((parts**2).mean())


def long_run_variance_of_mean(series: Series, cosines: int) -> float:
    """The same where nothing but a constant is known: the cosines are then orthogonal as they are, and a transform of
    the series and its mirror image has all of them at once, of a million values too."""
    centred = series - series.mean()
    parts = np.fft.rfft(np.concatenate([centred, centred[::-1]]))[1 : cosines + 1]
    return float((np.abs(parts) ** 2).mean()) / (2 * len(series))


def student_t(degrees: int) -> float:
    """The 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5 from five degrees on: to the fourth digit)."""
    if degrees <= len(_FEW_DEGREES):
        return _FEW_DEGREES[degrees - 1]
    z, v = _Z, float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def student_tail(t: float, degrees: int) -> float:
    """How probable a value above `t` (at least 0) is under Student's t of so many whole degrees of freedom, exactly
    (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(degrees))
    cosine, term, total = cos(angle), 1.0, 0.0
    if degrees % 2:
        for k in range(1, (degrees - 1) // 2 + 1):
            term = cosine if k == 1 else term * cosine**2 * (2 * k - 2) / (2 * k - 1)
            total += term
        within = 2 / pi * (angle + sin(angle) * total)
    else:
        for k in range(degrees // 2):
            term = 1.0 if k == 0 else term * cosine**2 * (2 * k - 1) / (2 * k)
            total += term
        within = sin(angle) * total
    return max(0.0, (1 - within) / 2)


def student_t_beyond(chance: float, degrees: int) -> float:
    """The point of Student's t that is exceeded with this chance, below 0.5."""
    low, high = 0.0, 1.0
    while student_tail(high, degrees) > chance:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, degrees) > chance else (low, middle)
    return low


def _logarithm(estimate: Estimate) -> Estimate:
    # An interval that reaches 0 has no end below on this scale.
    low, high = (None if end is None or end <= 0 else log(end) for end in (estimate.low, estimate.high))
    return Estimate(log(estimate.value), low, high, estimate.count)


def _reach(upper: float | None, lower: float | None) -> float | None:
    return None if upper is None or lower is None else upper - lower


def _combined(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else sqrt(one * one + other * other)
