"""Prometheus' text format, written out."""

from itertools import accumulate

from tokenswarm.simulator.engine_stats import CountHistogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """Collects samples; `labels` go with each of them."""

    def __init__(self, **labels: str) -> None:
        self._labels = labels
        self._lines: list[str] = []
        self._declared: set[str] = set()

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._sample("gauge", name, value, labels)

    def counter(self, name: str, value: float, **labels: str) -> None:
        self._sample("counter", name, value, labels)

    def histogram(self, name: str, values: CountHistogram, **labels: str) -> None:
        """Buckets are cumulative, as the format has it."""
        self._declare("histogram", name)
        for bound, total in zip([*map(str, values.bounds), "+Inf"], accumulate(values.counts), strict=True):
            self._line(f"{name}_bucket", total, labels | {"le": bound})
        self._line(f"{name}_count", values.count, labels)
        self._line(f"{name}_sum", values.sum, labels)

    def body(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()

    def _sample(self, kind: str, name: str, value: float, labels: dict[str, str]) -> None:
        self._declare(kind, name)
        self._line(name, value, labels)

    def _declare(self, kind: str, name: str) -> None:
        if name not in self._declared:
            self._declared.add(name)
            self._lines.append(f"# TYPE {name} {kind}")

    def _line(self, name: str, value: float, labels: dict[str, str]) -> None:
        pairs = sorted((self._labels | labels).items())
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in pairs)
        self._lines.append(f"{name}{{{inside}}} {float(value)}" if inside else f"{name} {float(value)}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
