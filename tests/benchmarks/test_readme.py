"""The figures in README and docs/benchmarks.md are those of docs/bench.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.readme import BENCH, DOCUMENTS, ROOT, BenchFigures, outdated, sections


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
    error = bench.row("tokenswarm", bench.users[-1]).accuracy.ttft_error_ms
    (row,) = [
        line
        for line in sections(bench)["readme"].splitlines()
        if line.startswith(f"| {bench.users[-1]:,} | Tokenswarm |")
    ]
    cells = [f"{error.median:.3f}", f"{error.p99:.3f}", f"{error.max:.1f}"]
    assert [cell.strip() for cell in row.split("|")][4:7] == cells


def test_the_table_has_the_rows_of_its_three_clients_that_were_measured():
    """The plain Locust user was left out with 500 users and more."""
    rows = [line.split("|")[1:3] for line in sections(BenchFigures(document()))["readme"].splitlines() if "|" in line]
    clients = ["Tokenswarm", "plain Locust user", "lower limit", *(("Tokenswarm", "lower limit") * 2)]
    assert [client.strip() for _, client in rows[2:]] == clients
    assert [users.strip() for users, _ in rows[2:]] == ["100", "", "", "500", "", "1,000", ""]


def test_the_longest_error_is_explained_only_where_it_is_a_gap():
    figures = document()
    assert "25.2" in sections(BenchFigures(figures))["readme"].rpartition("|")[2]
    for row in figures["rows"]:  # type: ignore[attr-defined]
        if row["accuracy"]:
            row["accuracy"]["ttft_error_ms"]["max"] = 0.5
    assert sections(BenchFigures(figures))["readme"].rpartition("|")[2].strip() == ""


def test_an_unknown_section_is_refused():
    from benchmarks.readme import updated

    with pytest.raises(KeyError):
        updated("<!-- bench: nothing -->\n<!-- end -->", {})
