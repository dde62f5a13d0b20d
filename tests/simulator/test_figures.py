"""The metrics page, read back by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families

from simulator.figures import Figures


def samples(text: str) -> dict[tuple[str, str], float]:
    """Values by name and by `le` or finished_reason."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = sample.labels.get("le") or sample.labels.get("finished_reason") or ""
            found[sample.name, label] = sample.value
    return found


def test_given_values_are_shown_under_their_names() -> None:
    page = Figures("m").exposition({"vllm:num_requests_running": 3}, {"vllm:generation_tokens_total": 12})
    values = samples(page)
    assert values["vllm:num_requests_running", ""] == 3
    assert values["vllm:generation_tokens_total", ""] == 12


def test_first_tokens_fall_into_cumulative_buckets() -> None:
    figures = Figures("m")
    for ttft_s in (0.001, 0.0015, 0.3, 9999.0):
        figures.first_token(ttft_s)
    values = samples(figures.exposition({}, {}))
    name = "vllm:time_to_first_token_seconds"
    buckets = [values[f"{name}_bucket", le] for le in ("0.001", "0.005", "0.25", "0.5", "2560.0", "+Inf")]
    assert buckets == [1, 2, 2, 3, 3, 4]
    assert values[f"{name}_count", ""] == 4
    assert values[f"{name}_sum", ""] == 0.001 + 0.0015 + 0.3 + 9999.0


def test_ended_requests_are_counted_by_reason() -> None:
    figures = Figures("m")
    for reason in ("stop", "length", "length", "abort"):
        figures.ended(reason)
    values = samples(figures.exposition({}, {}))
    counts = [values["vllm:request_success_total", reason] for reason in ("stop", "length", "abort", "error")]
    assert counts == [1, 2, 1, 0]


def test_a_model_name_is_escaped_in_labels() -> None:
    page = Figures('a"b\\c').exposition({"vllm:num_requests_running": 0}, {})
    family = next(iter(text_string_to_metric_families(page)))
    assert family.samples[0].labels["model_name"] == 'a"b\\c'
