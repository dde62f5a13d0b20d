"""The figures in README and docs/benchmarks.md are those of docs/bench.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.readme import BENCH, DOCUMENTS, ROOT, BenchFigures, outdated, sections
from benchmarks.table import number


def document() -> dict[str, object]:
    return dict(json.loads((ROOT / BENCH).read_text()))


def test_documents_have_the_measured_figures():
    assert outdated() == []


def test_a_figure_changed_by_hand_is_found(tmp_path: Path):
    for path in (BENCH, *DOCUMENTS):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    readme = tmp_path / "README.md"
    bench = BenchFigures(document())
    rate = f"{bench.row('tokenswarm', bench.users[0]).tokens_per_s:,.0f}"
    readme.write_text(readme.read_text().replace(rate, "9,999"))
    assert outdated(tmp_path) == [Path("README.md")]


def test_the_table_has_the_errors_that_were_measured():
    bench = BenchFigures(document())
    measured = [row for row in bench.rows if row.client == "tokenswarm" and row.accuracy]
    assert measured
    for client in measured:
        error = client.accuracy.ttft_error_ms
        (row,) = [
            line
            for line in sections(bench)["readme"].splitlines()
            if line.startswith(f"| {client.users:,} | Tokenswarm |")
        ]
        assert [cell.strip() for cell in row.split("|")][4:7] == [
            number(at) for at in (error.median, error.p99, error.max)
        ]


def test_the_table_has_the_rows_of_its_three_clients_that_were_measured():
    """A client that needs more than a core is left out."""
    bench = BenchFigures(document())
    rows = [line.split("|")[1:3] for line in sections(bench)["readme"].splitlines() if "|" in line][2:]
    names = {"tokenswarm": "Tokenswarm", "HttpUser + sseclient": "plain Locust user", "floor": "lower limit"}
    measured = [
        (row.users, names[row.client])
        for users in bench.users
        for row in bench.rows
        if row.users == users and row.client in names and row.tokens_per_s
    ]
    assert [client.strip() for _, client in rows] == [name for _, name in measured]
    assert [users.strip() for users, _ in rows if users.strip()] == [f"{users:,}" for users in bench.users]


def test_the_longest_error_is_explained_only_where_it_is_a_gap():
    figures = document()
    measured = [row for row in figures["rows"] if row["client"] == "tokenswarm" and row["accuracy"]]  # type: ignore[attr-defined]
    for row in measured:
        row["accuracy"]["ttft_error_ms"]["max"] = 0.5
    assert sections(BenchFigures(figures))["readme"].rpartition("|")[2].strip() == ""
    measured[-1]["accuracy"]["ttft_error_ms"]["max"] = 25.2
    assert "25.2" in sections(BenchFigures(figures))["readme"].rpartition("|")[2]


def test_an_unknown_section_is_refused():
    from benchmarks.readme import updated

    with pytest.raises(KeyError):
        updated("<!-- bench: nothing -->\n<!-- end -->", {})
