"""What the server told, as figures of a span: with numbers that can be added up in the head."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from tokenswarm.metrics.level import Level, Scope
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.server_samples import ServerSample, ServerSamples, server_figures
from tokenswarm.recording.summary import level_summary
from tokenswarm.run_folder.schema import ServerFigures
from tokenswarm.run_folder.summary_csv import summary_rows

SAMPLES = [
    ServerSample(0.0, 0, {"requests_running": 0, "output_tokens_total": 1000, "ttft_seconds_sum": 9.0}),
    ServerSample(2.1, 0, {"requests_running": 8, "output_tokens_total": 1500, "kv_cache_utilization": 0.1}),
    ServerSample(7.1, 0, {"requests_running": 10, "output_tokens_total": 3500, "kv_cache_utilization": 0.3}),
    ServerSample(12.1, 0, {"requests_running": 2, "output_tokens_total": 5500, "kv_cache_utilization": 0.9}),
    ServerSample(17.1, 0, {"requests_running": 0, "output_tokens_total": 5600}),
]


def test_gauges_are_averaged_inside_the_span_and_counters_to_its_end() -> None:
    """From 2 to 12 s. The look at 12.1 s shows what was counted to the end, but no longer how many ran."""
    figures = server_figures(SAMPLES, 2.0, 12.0)
    assert figures == ServerFigures(
        requests_running_mean=9.0, kv_cache_utilization_mean=pytest.approx(0.2), output_token_rate=(5500 - 1500) / 10
    )


def test_ratios_come_from_what_both_counters_grew_by() -> None:
    told = [
        {"prefix_cache_hits_total": 100, "prefix_cache_queries_total": 1000, "ttft_seconds_sum": 50.0}
        | {"ttft_seconds_count": 100, "prefix_cache_hit_ratio": 0.1},
        {"prefix_cache_hits_total": 400, "prefix_cache_queries_total": 1400, "ttft_seconds_sum": 51.0}
        | {"ttft_seconds_count": 104, "prefix_cache_hit_ratio": 0.3},
    ]
    figures = server_figures([ServerSample(5.0 * n, 0, values) for n, values in enumerate(told)], 0.0, 5.0)
    assert figures is not None
    assert (figures.prefix_cache_hit_ratio, figures.ttft_s_mean) == (0.75, 0.25)


def test_where_an_engine_counts_neither_its_own_ratio_is_averaged_but_not_the_last_requests_ttft() -> None:
    # One request a look of hundreds, and those that finish last are not like the others: no mean to set ours beside.
    samples = [ServerSample(1, 0, {"prefix_cache_hit_ratio": 0.2, "ttft_seconds_last": 0.1})]
    samples += [ServerSample(2, 0, {"prefix_cache_hit_ratio": 0.4, "ttft_seconds_last": 0.3})]
    figures = server_figures(samples, 0.0, 5.0)
    assert figures is not None
    assert figures.prefix_cache_hit_ratio == pytest.approx(0.3)
    assert figures.ttft_s_mean is None


def test_a_server_that_was_restarted_in_between_has_no_rate() -> None:
    samples = [ServerSample(at, 0, {"output_tokens_total": count}) for at, count in ((0, 100), (5, 10), (10, 500))]
    figures = server_figures(samples, 0.0, 10.0)
    assert figures is not None
    assert figures.output_token_rate is None


def test_one_look_gives_no_rate_and_none_gives_nothing() -> None:
    figures = server_figures(SAMPLES[:1], 0.0, 1.0)
    assert figures == ServerFigures(requests_running_mean=0.0)
    assert server_figures(SAMPLES, 100.0, 200.0) is None


def test_a_look_is_due_five_times_a_hold_and_where_a_part_begins(a_level: Callable[..., Level]) -> None:
    """Ramp to 2 s, hold to 12 s."""
    books = ServerSamples()
    first, second = LevelStats(a_level(0), 0.0), LevelStats(a_level(1), 13.0)
    looked = []
    for tenth in range(200):
        now_s = tenth / 10
        if books.is_due(first if now_s < 13 else second, now_s):
            books.tried(now_s)
            looked.append(now_s)
    assert looked == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 13.0, 15.0, 17.0, 19.0]


def test_a_hold_whose_end_is_not_planned_is_looked_at_often_at_first(a_level: Callable[..., Level]) -> None:
    """As one is that a shape of the locustfile ends: it may be over soon."""
    samples, level = ServerSamples(), LevelStats(structs.replace(a_level(0), ramp_s=0.0, level_time_s=None), 0.0)
    looked = []
    for now_s in range(40):
        if samples.is_due(level, now_s):
            samples.tried(now_s)
            looked.append(now_s)
    assert looked == [0, 1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24, 29, 34, 39]


def test_samples_that_are_close_at_first_weigh_by_the_time_that_they_stand_for() -> None:
    running = [ServerSample(at, 0, {"requests_running": 0 if at < 8 else 10}) for at in (0, 1, 2, 3, 4, 5, 11, 20)]
    figures = server_figures(running, 0.0, 20.0)
    assert figures is not None
    assert figures.requests_running_mean == 10 * 12 / 20


def test_a_long_drain_of_a_short_level_is_looked_at_every_five_seconds(a_level: Callable[..., Level]) -> None:
    samples, level = ServerSamples(), LevelStats(a_level(0), 0.0)
    looked = []
    for now_s in range(12, 40):
        if samples.is_due(level, now_s):
            samples.tried(now_s)
            looked.append(now_s)
    assert looked == [12, 17, 22, 27, 32, 37]


def test_the_summary_has_them_by_part_and_the_table_of_it_always_the_same_columns(
    books: Callable[..., Aggregator], timeline: Callable[..., object]
) -> None:
    aggregator = books([timeline()])
    told = ServerSamples()
    for sample in SAMPLES:
        told.add(sample, 0)
    with_server = level_summary(aggregator.levels[0], 99.0, aggregator.objectives, told)
    without = level_summary(aggregator.levels[0], 99.0, aggregator.objectives)
    assert with_server.hold.server is not None and with_server.whole.server is not None
    assert with_server.hold.server.requests_running_mean == 9.0
    over_time = (8 * (7.1 - 0.0) / 2 + 10 * (7.1 - 2.1) / 2) / 7.1  # the sample before the hold stands for less time
    assert with_server.whole.server.requests_running_mean == pytest.approx(over_time)
    assert without.hold.server is None
    rows = summary_rows([with_server]) + summary_rows([without])
    assert len({tuple(row) for row in rows}) == 1
    assert [row["server_requests_running_mean"] for row in rows] == [9.0, pytest.approx(over_time), None, None]


def test_a_look_that_told_nothing_is_counted_and_what_was_known_is_no_longer_told() -> None:
    books = ServerSamples("http://gpu/metrics")
    books.add(SAMPLES[0], 0)
    books.add(ServerSample(5.0, 0, {}), 1)
    assert books.latest == {}
    assert books.facts() == {
        "source": "http://gpu/metrics",
        "gpu_source": None,
        "samples": 1,
        "failures": 1,
        "note": None,
    }
    assert books.figures(LevelStats(Level(0, "off", "1", 1, 0.0), 0.0), Scope.WHOLE, 5.0) is not None
