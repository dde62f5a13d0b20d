"""The table and the chart, read as a person reads them."""

from __future__ import annotations

from benchmarks.chart import chart, draw
from benchmarks.figures import Accuracy, ClientRow, Spread
from benchmarks.records import ReadingCost
from benchmarks.table import number, parsing_table, table

ACCURACY = Accuracy(334, Spread(300, 0.0123, 1.25, 42.0), None, lost=2, doubled=1, failed=3)
ROWS = [
    ClientRow(
        "quick",
        1000,
        "",
        ACCURACY,
        37_266.4,
        19.94,
        0.998,
        131.2,
        24.6,
        13.0,
        20.0,
        server_late=True,
        other_load=0.46,
        sent_again_percent=0.12,
    ),
    ClientRow("slow", 1000, "left out: too slow"),
    ClientRow("odd", 1000, "ended with exit code 1", None, 10.0, 5.0, None, 60.0, None, 1.0, 2.0),
]


def test_a_row_shows_its_figures_under_their_headings():
    text = table(ROWS)
    cells = next(line for line in text.splitlines() if "quick" in line).split()
    assert cells == [
        *("1,000", "quick", "37,266", "0.012", "1.25", "42.0", "–", "–", "2", "1", "334", "3"),
        *("19.9", "0.998", "131", "25", "13.0*", "20.0", "0.120", "0.460"),
    ]


def test_a_client_that_was_left_out_is_a_row_that_says_why():
    assert "1,000  slow: left out: too slow" in table(ROWS).splitlines()


def test_what_went_wrong_stands_below_the_row():
    lines = table(ROWS).splitlines()
    row = next(at for at, line in enumerate(lines) if line.split()[1:2] == ["odd"])
    assert lines[row + 1].strip() == "odd: ended with exit code 1"


def test_numbers_keep_three_digits_and_undefined_is_a_dash():
    assert [number(value) for value in (None, 0.0, 0.0123, 3.456, 67.89, 1234.5)] == [
        *("–", "0.000", "0.012", "3.46", "67.9", "1,234"),
    ]


def test_the_parsing_table_gives_the_ratio():
    assert parsing_table([ReadingCost("getting the text", 10, 1.5, 4.0)]).splitlines()[1].split()[-4:] == [
        *("10", "1.50", "4.00", "0.38"),
    ]


def test_the_chart_shows_both_figures_and_names_who_was_left_out(tmp_path):
    figure = chart(ROWS, "somewhere, some day")
    top, bottom = figure.axes
    assert [bar.get_height() for bar in top.patches] == [1.25]
    assert [bar.get_height() for bar in bottom.patches] == [19.94, 5.0]
    assert [text.get_text() for text in bottom.texts] == ["19.9*", "left out", "5.00"]
    draw(ROWS, tmp_path / "bench.png", "somewhere, some day")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
