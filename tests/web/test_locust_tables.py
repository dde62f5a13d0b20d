"""Our rows and our section inside Locust's own pages."""

from __future__ import annotations

from page.live import LevelRow
from page.section import extended_rows, extended_table, report_section

OVER = LevelRow(0, "off", "10", 10, 2.0, 12.0, "over", requests=1200, token_rate=437.26, ttft_p50_s=0.0303)
PLANNED = LevelRow(1, "on", "10", 10, 2.0, 12.0, "planned")


def test_a_row_a_level_that_has_begun_in_milliseconds() -> None:
    (row,) = extended_rows([OVER, PLANNED])
    assert row["name"] == "01: 10 users without system prompt"
    assert (row["requests"], row["token_rate"], row["ttft_p50_s"], row["ttft_p99_s"]) == (1200, 437.3, 30.3, None)
    columns = extended_table()["structure"]
    assert {column["key"] for column in columns} == set(row)
    assert not any("round" in column for column in columns)  # Locust's page would round a missing value to 0


def test_the_section_tells_the_figures_and_what_speaks_against_them_and_takes_nothing_for_markup() -> None:
    section = report_section([OVER, PLANNED], "vllm at <script>", ["a core is full"])
    assert "<td>1,200</td><td>0</td><td>437.3</td><td>30.3</td><td>–</td>" in section
    assert "vllm at &lt;script&gt;" in section
    assert "Suspect:</strong> a core is full" in section


def test_without_a_level_there_is_no_section() -> None:
    assert report_section([PLANNED], "", []) == ""
