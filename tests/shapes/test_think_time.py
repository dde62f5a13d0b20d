"""What --think-time says: the distribution, and where text that cannot be read is wrong."""

from __future__ import annotations

import pytest

from tokenswarm.command_line import PointedError
from tokenswarm.metrics.level import ThinkTime
from tokenswarm.shapes.think_time import parse_think_time, think_time_of

STEPS = 20_000


@pytest.mark.parametrize(
    ("text", "mean_s"),
    [
        ("2s", 2.0),
        ("1m30s", 90.0),
        ("0.25", 0.25),
        ("exp(500ms)", 0.5),
        ("u(1s,3s)", 2.0),
        ("ln(8s,p95=60s)", 16.956),  # 8 · exp(σ²/2), σ = ln(60/8) / 1.6449
        ("ln( 100ms , p90 = 1s )", 0.5022),
    ],
)
def test_the_mean_is_that_of_the_times(text: str, mean_s: float) -> None:
    found = parse_think_time(text)
    times = [found.seconds_at((step + 0.5) / STEPS) for step in range(STEPS)]
    assert found.mean_s == pytest.approx(mean_s, rel=1e-3)
    assert sum(times) / STEPS == pytest.approx(mean_s, rel=0.01)
    assert times == sorted(times) and times[0] >= 0


def test_percentiles_and_bounds_are_where_they_were_set() -> None:
    lognormal, uniform = parse_think_time("ln(8s,p95=60s)"), parse_think_time("u(1s,3s)")
    assert [lognormal.seconds_at(u) for u in (0.5, 0.95)] == pytest.approx([8.0, 60.0])
    assert [uniform.seconds_at(u) for u in (0.0, 1.0)] == [1.0, 3.0]
    assert parse_think_time("exp(2s)").seconds_at(0.5) == pytest.approx(1.3863, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("soon", 0),
        ("-2s", 0),
        ("2x", 1),
        ("2s 3s", 3),
        ("exp", 3),
        ("exp(2s,3s)", 0),
        ("exp(mean=2s)", 0),
        ("u(3s,1s)", 5),
        ("u(1s)", 0),
        ("ln(8s)", 0),
        ("ln(8s,max=9s)", 0),
        ("ln(8s,p95=7s)", 10),
        ("ln(8s,p40=9s)", 6),
        ("ln(0s,p95=9s)", 3),
        ("exp(2s", 6),
        ("exp(25h)", 4),
    ],
)
def test_errors_point_at_the_place(text: str, place: int) -> None:
    with pytest.raises(PointedError) as raised:
        parse_think_time(text)
    assert raised.value.place == place


def test_no_time_is_no_think_time() -> None:
    assert think_time_of("", "1") is None
    assert think_time_of("0s", "1") is None
    assert think_time_of(" exp(2s) ", "7") == ThinkTime("exp(2s)", 2.0, "7")
