"""The metrics pages, read back by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families

from tokenswarm.simulator.engine_stats import TTFT_BOUNDS_S, CountHistogram
from tokenswarm.simulator.exposition import Exposition


def samples(shown: Exposition) -> dict[tuple[str, str], float]:
    """Value by name and by bound or reason."""
    found = {}
    for family in text_string_to_metric_families(shown.body().decode()):
        for sample in family.samples:
            label = sample.labels.get("le") or sample.labels.get("reason") or ""
            found[sample.name, label] = sample.value
    return found


def test_values_are_shown_under_their_names() -> None:
    shown = Exposition(model="m")
    shown.gauge("vllm:num_requests_running", 3)
    shown.counter("vllm:generation_tokens_total", 12)
    values = samples(shown)
    assert values["vllm:num_requests_running", ""] == 3
    assert values["vllm:generation_tokens_total", ""] == 12


def test_values_fall_into_cumulative_buckets() -> None:
    seconds = CountHistogram(TTFT_BOUNDS_S)
    for ttft_s in (0.001, 0.0015, 0.3, 9999.0):
        seconds.add(ttft_s)
    shown = Exposition()
    shown.histogram("ttft_seconds", seconds)
    values = samples(shown)
    buckets = [values["ttft_seconds_bucket", le] for le in ("0.001", "0.005", "0.25", "0.5", "2560.0", "+Inf")]
    assert buckets == [1, 2, 2, 3, 3, 4]
    assert values["ttft_seconds_count", ""] == 4
    assert values["ttft_seconds_sum", ""] == 0.001 + 0.0015 + 0.3 + 9999.0


def test_one_value_may_have_come_many_times() -> None:
    seconds = CountHistogram(TTFT_BOUNDS_S)
    seconds.add(0.25, times=3)
    seconds.add(1.0)
    assert (seconds.count, seconds.sum, seconds.mean, seconds.last) == (4, 1.75, 0.4375, 1.0)
    assert CountHistogram(TTFT_BOUNDS_S).mean == 0


def test_samples_of_one_name_differ_by_their_labels_and_have_one_type_line() -> None:
    shown = Exposition(model="m")
    for reason, count in (("stop", 1), ("length", 2)):
        shown.counter("ended_total", count, reason=reason)
    assert samples(shown) == {("ended_total", "stop"): 1, ("ended_total", "length"): 2}
    assert shown.body().count(b"# TYPE") == 1


def test_labels_are_escaped() -> None:
    shown = Exposition(model='a"b\\c\nd')
    shown.gauge("up", 1)
    family = next(iter(text_string_to_metric_families(shown.body().decode())))
    assert family.samples[0].labels["model"] == 'a"b\\c\nd'
