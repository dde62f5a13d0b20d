"""Our rows and our section inside Locust's own pages."""

from __future__ import annotations

from msgspec.structs import replace

from tokenswarm.run_folder.schema import Validity
from tokenswarm.web.live_view import LevelRow, OpenLoopRow
from tokenswarm.web.locust_tables import extended_rows, extended_table, report_section

OVER = LevelRow(0, "off", "10", "10 users", 10, 2.0, 12.0, "over", requests=1200, token_rate=437.26, ttft_p50_s=0.0303)
PLANNED = LevelRow(1, "on", "10", "10 users", 10, 2.0, 12.0, "planned")


def test_a_row_a_level_that_has_begun_in_milliseconds() -> None:
    (row,) = extended_rows([OVER, PLANNED])
    assert row["name"] == "01: 10 users without system prompt"
    assert (row["requests"], row["token_rate"], row["ttft_p50_s"], row["ttft_p99_s"]) == (1200, 437.3, 30.3, None)
    columns = extended_table(open_loop=False)["structure"]
    assert {column["key"] for column in columns} == set(row)
    assert not any("round" in column for column in columns)  # Locust's page would round a missing value to 0


def test_a_row_of_an_open_loop_has_its_rates_and_requests_in_flight() -> None:
    load = OpenLoopRow(offered_rate=20.0, sent_rate=19.83, completed_rate=18.0, in_flight_mean=4.25)
    rows = extended_rows([replace(OVER, name="20/s", open_loop=load)])
    assert rows[0]["name"] == "01: 20 requests/s without system prompt"
    names = ("offered_rate", "sent_rate", "completed_rate", "in_flight_mean")
    assert [rows[0][name] for name in names] == [20.0, 19.8, 18.0, 4.2]
    assert {column["key"] for column in extended_table(open_loop=True)["structure"]} == set(rows[0])


def test_the_section_shows_figures_and_warnings_and_escapes_markup() -> None:
    section = report_section([OVER, PLANNED], "vllm at <script>", Validity("suspect", ("a core is full",)))
    assert "<td>1,200</td><td>0</td><td>437.3</td><td>30.3</td><td>–</td>" in section
    assert "vllm at &lt;script&gt;" in section
    assert "Suspect:</strong> a core is full" in section


def test_without_a_level_there_is_no_section() -> None:
    assert report_section([PLANNED], "", Validity("valid")) == ""
