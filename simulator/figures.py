"""The server's own metrics, under vLLM's names, in Prometheus' text format. Times are in seconds."""

from bisect import bisect_left
from itertools import accumulate

# vLLM's own bounds for this histogram.
_TTFT_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_REASONS = ("stop", "length", "abort", "error")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figures:
    """Counts what ended, and how long first tokens took from a request's arrival to its first text."""

    def __init__(self, model: str) -> None:
        escaped = model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        self._labels = f'engine="0",model_name="{escaped}"'
        self._ttft_counts = [0] * (len(_TTFT_BOUNDS_S) + 1)
        self._ttft_sum_s = 0.0
        self._ended = dict.fromkeys(_REASONS, 0)

    def first_token(self, ttft_s: float) -> None:
        self._ttft_counts[bisect_left(_TTFT_BOUNDS_S, ttft_s)] += 1
        self._ttft_sum_s += ttft_s

    def ended(self, reason: str) -> None:
        """`reason` is stop, length, abort (client gone) or error (any other end)."""
        self._ended[reason] += 1

    def exposition(self, gauges: dict[str, int], counters: dict[str, float]) -> str:
        """The page, with the given values, by their names, beside those counted here."""
        lines = []
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [f"# TYPE {name} {kind}", f"{name}{{{self._labels}}} {float(value)}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason, count in self._ended.items():
            lines.append(f'vllm:request_success_total{{finished_reason="{reason}",{self._labels}}} {float(count)}')
        return "\n".join(lines + self._ttft_lines()) + "\n"

    def _ttft_lines(self) -> list[str]:
        name = "vllm:time_to_first_token_seconds"
        bounds = [*map(str, _TTFT_BOUNDS_S), "+Inf"]
        totals = list(accumulate(self._ttft_counts))
        lines = [f"# TYPE {name} histogram"]
        lines += [
            f'{name}_bucket{{le="{bound}",{self._labels}}} {float(total)}'
            for bound, total in zip(bounds, totals, strict=True)
        ]
        return [
            *lines,
            f"{name}_count{{{self._labels}}} {float(totals[-1])}",
            f"{name}_sum{{{self._labels}}} {self._ttft_sum_s}",
        ]
