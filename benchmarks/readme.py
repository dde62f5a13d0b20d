"""`python -m benchmarks.readme [BENCH.JSON]`: writes the measured figures into README.md, docs/benchmarks.md
and docs/accuracy.md.

They are between `<!-- bench: NAME -->` and `<!-- end -->`, and come from docs/bench.json. With a file, that file
becomes docs/bench.json first, or its part of it where the file has one part only (bursts.json, stalls.json); parts
that the file does not have are kept. `--check` writes nothing and exits with 1 where a document has other figures.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import BurstRow, ClientRow, Spread, StallRow
from benchmarks.records import ReadingCost
from benchmarks.table import bursts_table, number, parsing_table, stalls_table, table

ROOT = Path(__file__).resolve().parents[1]
BENCH = Path("docs/bench.json")
DOCUMENTS = (Path("README.md"), Path("docs/benchmarks.md"), Path("docs/accuracy.md"))
#: Parts of it that are also measured by commands of their own.
_PARTS = ("bursts", "stalls")
_SECTION = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: The clients of README's table, as it names them; docs/benchmarks.md has all.
_NAMES = {
    "tokenswarm": "Tokenswarm",
    "HttpUser + sseclient": "plain Locust user",
    "floor": "lower limit",
}


class BenchFigures:
    """What one `make bench` measured."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.rows = msgspec.convert(document["rows"], list[ClientRow])
        self.parsing = [
            ReadingCost(row["what"], row["events_a_read"], row["ours_us"], row["theirs_us"])
            for row in document["parsing"]
        ]
        #: Empty where they were not measured.
        bursts = document.get("bursts", {"rows": []})
        self.bursts = msgspec.convert(bursts["rows"], list[BurstRow])
        self.bursts_where = _where("python -m benchmarks.bursts", bursts) if self.bursts else ""
        stalls = document.get("stalls", {"rows": []})
        self.stalls = msgspec.convert(stalls["rows"], list[StallRow])
        self.stalls_where = _where("python -m benchmarks.stalls", stalls) if self.stalls else ""
        self.gap_ms = 1000 / document["server"]["tokens_per_s"]
        self.where = _where("make bench", document)

    def row(self, client: str, users: int) -> ClientRow:
        return next(row for row in self.rows if (row.client, row.users) == (client, users))

    @property
    def users(self) -> list[int]:
        """The numbers of users, smallest first."""
        return sorted({row.users for row in self.rows})


def _where(command: str, measured: Mapping[str, Any]) -> str:
    """By what figures were measured, when and on what."""
    started = datetime.fromisoformat(measured["started_at"])
    machine = measured["machine"]
    python = ".".join(machine["python"].split(".")[:2])
    processor = f"{machine['cores']} cores of {machine['processor']}"
    return f"`{command}`, {started:%Y-%m-%d %H:%M} UTC, {processor}, Python {python}"


def sections(bench: BenchFigures) -> dict[str, str]:
    """The text of each section, by its name."""
    return {
        "readme": f"{bench.where}.\n\n{_markdown(bench)}\n{_longest_error(bench)}",
        "bursts": _bursts(bench),
        "stalls": _stalls(bench),
        "table": f"{bench.where}.\n\n```\n{table(bench.rows)}\n\n{parsing_table(bench.parsing)}\n```\n",
    }


def _ttft(row: ClientRow) -> Spread:
    assert row.accuracy is not None and row.accuracy.ttft_error_ms is not None
    return row.accuracy.ttft_error_ms


def _bursts(bench: BenchFigures) -> str:
    if not bench.bursts:
        return "Not measured yet.\n"
    return f"{bench.bursts_where}.\n\n```\n{bursts_table(bench.bursts)}\n```\n"


def _stalls(bench: BenchFigures) -> str:
    if not bench.stalls:
        return "Not measured yet.\n"
    return f"{bench.stalls_where}.\n\n```\n{stalls_table(bench.stalls)}\n```\n"


def _markdown(bench: BenchFigures) -> str:
    """README's table: a row for each of its clients that was measured."""
    lines = [
        "| users | client | tokens/s | TTFT error, ms: p50 | p99 | max | CPU µs/token |",
        "|---|---|---|---|---|---|---|",
    ]
    for users in bench.users:
        rows = [row for row in bench.rows if row.users == users and row.client in _NAMES and row.tokens_per_s]
        for at, row in enumerate(rows):
            error = row.accuracy.ttft_error_ms if row.accuracy else None
            errors = [number(value) for value in ((error.median, error.p99, error.max) if error else (None,) * 3)]
            cells = [f"{users:,}" if at == 0 else "", _NAMES[row.client], f"{row.tokens_per_s:,.0f}", *errors]
            lines.append("| " + " | ".join([*cells, number(row.us_per_token)]) + " |")
    return "\n".join(lines)


def _longest_error(bench: BenchFigures) -> str:
    """Why README's maximum is what it is, where it is the time between two tokens."""
    rows = [row for row in bench.rows if row.client == "tokenswarm" and row.accuracy]
    rows = [row for row in rows if (_ttft(row).max or 0) > 0.9 * bench.gap_ms]
    if not rows:
        return ""
    largest = max(_ttft(row).max or 0 for row in rows)
    return (
        f"\nThe maximum is {number(largest)} ms because the client read one request's first and second token together "
        "([why](docs/benchmarks.md#the-last-table)).\n"
    )


def updated(text: str, texts: Mapping[str, str]) -> str:
    """The document with its sections replaced. Raises KeyError for a section without a text."""
    return _SECTION.sub(lambda match: match[1] + texts[match[2]] + match[3], text)


def outdated(root: Path = ROOT) -> list[Path]:
    """The documents that do not have the figures of docs/bench.json."""
    return [path for path, (old, new) in _documents(root).items() if old != new]


def _documents(root: Path) -> dict[Path, tuple[str, str]]:
    texts = sections(BenchFigures(json.loads((root / BENCH).read_text(encoding="utf-8"))))
    read: Callable[[Path], str] = lambda path: (root / path).read_text(encoding="utf-8")  # noqa: E731
    return {path: (read(path), updated(read(path), texts)) for path in DOCUMENTS}


def main() -> int:
    """0; 1 where --check finds a document that is not up to date."""
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument(
        "bench", nargs="?", type=Path, metavar="BENCH.JSON", help="figures that replace docs/bench.json"
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    if args.check:
        paths = outdated()
        print("\n".join(f"{path} does not have the figures of {BENCH}" for path in paths) or "up to date")
        return int(bool(paths))
    if args.bench:
        measured = json.loads(args.bench.read_text(encoding="utf-8"))
        before = json.loads((ROOT / BENCH).read_text(encoding="utf-8"))
        kept = {name: before[name] for name in _PARTS if name in before} if "rows" in measured else before
        measured = kept | measured
        (ROOT / BENCH).write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path, (old, new) in _documents(ROOT).items():
        if old != new:
            (ROOT / path).write_text(new, encoding="utf-8")
            print(f"{path} updated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
