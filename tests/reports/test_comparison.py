"""`tokenswarm compare`: servers are told apart where chance does not explain it, and all outputs say the same."""

from __future__ import annotations

import csv
import html
import io
import re
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from tests.reports.folders import Course, write_folder
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.reports import units
from tokenswarm.reports.compare.compare_command import add_arguments, main
from tokenswarm.reports.compare.comparison import COMPARED, GOODPUT, TOKEN_RATE, TTFT, RunComparison, Standing
from tokenswarm.reports.compare.comparison_charts import chart_of
from tokenswarm.reports.compare.comparison_page import comparison_html
from tokenswarm.reports.compare.comparison_text import comparison_csv, comparison_markdown, comparison_table, verdict
from tokenswarm.run_folder.reader import ReportError, load_results

pytestmark = pytest.mark.slow

Folder = Callable[..., Path]
SUSPECT = {"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}}
LADDER = (Course(10), Course(50), Course(10, "on"), Course(50, "on"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a run of this engine, by default of 10 users alone; each of another seed."""
    numbers = iter(range(1, 1000))

    def write(engine: str, *courses: Course, summary: dict[str, Any] | None = None, **run: Any) -> Path:
        number = next(numbers)
        summary = {"engine": engine, "host": f"http://{engine}:8000"} | (summary or {})
        return write_folder(tmp_path / f"run-{number}", courses or (Course(),), number, summary=summary, run=run)

    return write


def compared(*folders: Path, **how: Any) -> RunComparison:
    return RunComparison([load_results(folder) for folder in folders], **how)


def standings(comparison: RunComparison, figure: Any) -> list[Standing]:
    return [entry.standing for entry in comparison.entries if entry.compared is figure]


def test_better_and_worse_are_said_of_what_is_lower_and_of_what_is_higher(folder: Folder) -> None:
    found = compared(folder("a"), folder("b", Course(ttft_s=0.3, token_rate=4000)), folder("c", Course(ttft_s=0.1)))
    assert standings(found, TTFT) == [Standing.BASE, Standing.WORSE, Standing.BETTER]
    assert standings(found, TOKEN_RATE)[:2] == [Standing.BASE, Standing.BETTER]
    _, ratio, _ = [entry.change for entry in found.entries if entry.compared is TTFT]
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert 1.1 < ratio.low < 1.5 < ratio.high < 2.1  # of 10 % from run to run, as one run each tells nothing of it


def test_equals_are_told_apart_one_time_in_twenty_at_most(folder: Folder) -> None:
    found = [
        standing
        for _ in range(20)
        for figure in COMPARED
        for standing in standings(compared(folder("a"), folder("b")), figure)[1:]
    ]
    assert len(found) == 20 * len(COMPARED)
    assert sum(standing in (Standing.BETTER, Standing.WORSE) for standing in found) <= 0.05 * len(found)


def test_the_verdict_names_who_leads_and_who_is_not_told_apart_from_it(folder: Folder) -> None:
    one, same, slow = folder("one"), folder("same"), folder("slow", Course(ttft_s=0.4, token_rate=2000))
    ttft, rate, carried = verdict(compared(slow, one, same))
    assert ttft.heading == "Lowest TTFT (median) without system prompt"
    ((level, told),) = ttft.lines
    assert level == "10 users"
    assert re.fullmatch(r"one \(\S+ ms\) and same \(\S+ ms\): no significant difference; next slow \(\S+ ms\)", told)
    assert rate.lines[0][1].endswith("; next slow (" + units.rate(slow_rate(slow)) + " tok/s)")
    assert carried.heading.startswith("SLO capacity: not available")


def test_where_no_level_is_decided_one_sentence_says_so(folder: Folder) -> None:
    few = Course(2, requests=12)
    found = compared(*(folder(name, few, Course(10), Course(50), summary=SUSPECT) for name in ("one", "same")))
    ttft, *_ = verdict(found)
    said = "no level decided: inconclusive (too few runs or requests) at 2 users; "
    said += "no significant difference at 10 and 50 users"
    assert ttft == (f"Lowest TTFT (median) without system prompt, {said}", [])
    for text in outputs(found).values():
        assert said in " ".join(text.split())
        assert "A result is inconclusive where that interval has an open end or there is none" in " ".join(text.split())


def slow_rate(folder: Path) -> float:
    rate = load_results(folder).summary.levels[0].hold.token_rate
    assert rate is not None
    return rate


def test_a_rate_that_falls_while_its_level_is_held_is_called_out(folder: Folder) -> None:
    falling = compared(folder("a"), folder("mlc", Course(10, fall=0.2)))
    (said,) = [saying for saying in verdict(falling) if saying.heading.startswith("Token rates that changed")]
    ((server, told),) = said.lines
    assert server == "mlc"
    assert re.fullmatch(
        r"10 users without system prompt: falls from 2,9\d\d to 2,4\d\d tok/s, −1\d\.\d % \(−1\d\.\d to −1\d\.\d\)",
        told,
    )
    assert not [saying for saying in verdict(compared(folder("a"), folder("b"))) if "changed" in saying.heading]


def test_ratios_are_to_the_first_or_to_the_base_that_is_named(folder: Folder) -> None:
    folders = folder("a"), folder("b", Course(ttft_s=0.4))
    assert standings(compared(*folders), TTFT) == [Standing.BASE, Standing.WORSE]
    assert standings(compared(*folders, base="b"), TTFT) == [Standing.BETTER, Standing.BASE]
    with pytest.raises(ReportError, match="--base takes one of a, b, got 'c'"):
        compared(*folders, base="c")


def test_a_sample_too_small_for_an_interval_decides_nothing(folder: Folder) -> None:
    few = Course(requests=20)
    found = compared(folder("a", few), folder("b", few))
    assert [entry.standing for entry in found.entries if str(entry.compared.figure) == "p95(ttft)"] == [
        Standing.BASE,
        Standing.INCONCLUSIVE,
    ]


def test_an_interval_without_a_lower_end_does_not_begin_at_zero(folder: Folder) -> None:
    few = Course(requests=44, correlation=0.9)
    table = comparison_table(compared(folder("a", few), folder("b", few)))
    times_and_rates = table[table.index("TTFT, median") : table.index("Failed requests")]
    assert "≤" in times_and_rates
    assert not re.search(r"\s0(–| ms| tok/s)|≥ 0(\s|$)", times_and_rates)


# Repeated runs.


def test_runs_of_one_server_are_pooled_and_their_spread_is_shown(folder: Folder) -> None:
    runs = [folder("a", Course(ttft_s=ttft_s)) for ttft_s in (0.20, 0.22, 0.24)]
    found = compared(*runs, folder("b", Course(ttft_s=0.5)))
    assert [server.label for server in found.servers] == ["a", "b"]
    own = [load_results(run).summary.levels[0].hold.ttft_s.p50 for run in runs]
    values = [quantile.value for quantile in own if quantile]
    entry = found.entries[0]
    assert entry.pooled is not None
    assert entry.pooled.estimate.value == pytest.approx(sum(values) / 3)
    assert (entry.pooled.smallest, entry.pooled.largest) == (min(values), max(values))
    assert f"3: {units.span(units.duration(min(values)), units.duration(max(values)))}" in comparison_table(found)
    assert standings(found, TTFT) == [Standing.BASE, Standing.WORSE]


def test_what_runs_of_one_server_may_differ_by_is_not_told_from_one_run_of_each(folder: Folder) -> None:
    slower = Course(ttft_s=0.22)
    one_each = folder("a"), folder("b", slower)
    assert standings(compared(*one_each), TTFT) == [Standing.BASE, Standing.INCONCLUSIVE]
    assert standings(compared(*one_each, variation=0.0), TTFT) == [Standing.BASE, Standing.WORSE]
    table = comparison_table(compared(*one_each))
    assert "no level decided: inconclusive (too few runs or requests) at 10 users" in table
    assert "standard deviation of 5 %" in " ".join(table.split())
    four_each = [folder(name, course) for name, course in (("a", Course()), ("b", slower)) for _ in range(4)]
    assert standings(compared(*four_each), TTFT) == [Standing.BASE, Standing.WORSE]


def test_one_engine_on_two_hosts_is_two_servers_and_labels_say_otherwise(folder: Folder) -> None:
    here, there = folder("a", summary={"host": "http://here"}), folder("a", summary={"host": "http://there"})
    assert [server.label for server in compared(here, there).servers] == ["a http://here", "a http://there"]
    same = folder("a"), folder("a")
    assert [server.label for server in compared(*same).servers] == [one.name for one in same]
    with pytest.raises(ReportError, match=r"All of these runs are of one server \(x\): .* Give another --label"):
        compared(*same, labels=["x", "x"])
    assert [server.label for server in compared(*same, labels=["before", "after"]).servers] == ["before", "after"]
    with pytest.raises(ReportError, match="--label is given once for each folder, in their order: 2 folders, 1 label"):
        compared(*same, labels=["x"])


def test_a_level_that_a_server_lacks_is_a_gap_and_not_a_zero(folder: Folder) -> None:
    found = compared(folder("a", Course(10), Course(50)), folder("b", Course(10)), allowed=["levels"])
    assert standings(found, TTFT) == [Standing.BASE, Standing.TIED, Standing.BASE, Standing.MISSING]
    (row,) = [row for row in csv_rows(found) if (row["figure"], row["users"], row["server"]) == ("rate", "50", "b")]
    assert (row["value"], row["change"], row["runs"]) == ("", "", "0")
    assert "50     off            b       –" in comparison_table(found)


# Objectives.


def test_users_carried_are_counted_from_the_requests_where_objectives_are_given(folder: Folder) -> None:
    fast = folder("fast", Course(10), Course(50), Course(100, ttft_s=0.9))
    slow = folder("slow", Course(10), Course(50, ttft_s=0.9), Course(100))
    found = compared(fast, slow, objectives=Objectives.parse("ttft=600ms"))
    assert [carried.level.load if carried.level else None for carried in found.capacities] == [50, 10]
    (carried, *_) = verdict(found)
    assert carried.heading == "SLO capacity without system prompt (95 % of the requests within ttft ≤ 600 ms)"
    assert carried.lines == [("fast", "up to 50 users"), ("slow", "up to 10 users")]
    first = next(entry for entry in found.entries if entry.compared is GOODPUT)
    with (fast / "requests.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["level_index"] == "0"]
    assert first.pooled is not None
    assert first.pooled.estimate.value == sum(float(row["ttft_ms"]) <= 600 for row in rows) / len(rows)


def test_objectives_that_differ_between_runs_are_not_held_against_any(folder: Folder) -> None:
    a, b = folder("a", summary={"objectives": {"ttft_s": 0.5}}), folder("b", summary={"objectives": {"ttft_s": 0.2}})
    found = compared(a, b)
    assert found.capacities == []
    assert any(notice.startswith("SLO DIFFERS") for notice in found.notices)


def test_runs_of_which_one_had_no_slo_are_named(folder: Folder) -> None:
    a, b = folder("a", summary={"objectives": {"ttft_s": 0.5}}), folder("b", summary={"objectives": {}})
    (notice,) = (notice for notice in compared(a, b).notices if notice.startswith("SLO DIFFERS"))
    assert f"ttft ≤ 500 ms in {a.name}; no SLO in {b.name}" in notice


# What every output says.


def outputs(comparison: RunComparison) -> dict[str, str]:
    """Each as plain text."""
    page = re.sub(r"<svg.*?</svg>", "", comparison_html(comparison), flags=re.DOTALL)
    return {
        "terminal": comparison_table(comparison),
        "markdown": html.unescape(comparison_markdown(comparison)).replace("\\", ""),
        "page": html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " "),
    }


def csv_rows(comparison: RunComparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(comparison_csv(comparison))))


def told_of(row: dict[str, str]) -> list[str]:
    """The texts that a row of the CSV makes, written down once more from its numbers."""
    tell = {"s": units.duration, "tok/s": lambda value: f"{units.rate(value)} tok/s", "share": units.percentage}
    texts = [tell[row["unit"]](float(row["value"]))]
    if row["low"] and row["high"]:
        texts.append(units.span(*(tell[row["unit"]](max(0.0, float(row[end]))) for end in ("low", "high"))))
    if row["change"] and row["change_is"] == "ratio":
        texts += [f"×{units.rate(float(row['change']))}"]
        if row["change_low"] and row["change_high"]:
            texts.append(f"{units.rate(float(row['change_low']))}–{units.rate(float(row['change_high']))}")
    return [*texts, row["standing"]]


def test_every_number_is_the_same_in_all_outputs_and_the_summary_s_own(folder: Folder) -> None:
    a, b = folder("a", *LADDER), folder("b", *(Course(c.users, c.system_prompt, ttft_s=0.3) for c in LADDER))
    found = compared(a, b, objectives=Objectives.parse("ttft=250ms"))
    rows = csv_rows(found)
    assert len(rows) == 4 * 2 * (len(COMPARED) + 1)
    for name, text in outputs(found).items():
        for row in rows:
            for told in told_of(row):
                assert told in text, (name, row)
    levels = {"a": load_results(a).summary.levels, "b": load_results(b).summary.levels}
    for row in rows:
        (level,) = [
            level
            for level in levels[row["server"]]
            if (level.level, level.system_prompt) == (row["users"], row["system_prompt"])
        ]
        if row["figure"] == "rate":
            assert float(row["value"]) == level.hold.token_rate
        if row["figure"] == "p50(ttft)":
            assert level.hold.ttft_s.p50 is not None
            assert float(row["value"]) == level.hold.ttft_s.p50.value


def test_rows_stand_in_one_order_in_the_terminal_and_in_markdown(folder: Folder) -> None:
    found = compared(folder("a", *LADDER), folder("b", *LADDER))
    cells = [row.strip("| ").split(" | ") for row in comparison_markdown(found).splitlines() if row.startswith("| 10 ")]
    lines = [re.split(r"  +", line) for line in comparison_table(found).splitlines() if line.startswith("10 ")]
    assert [[html.unescape(cell) for cell in row] for row in cells] == lines


def test_a_suspect_run_is_marked_wherever_its_server_stands(folder: Folder) -> None:
    found = compared(folder("a"), folder("b", summary=SUSPECT))
    (suspect,) = [server.runs[0].results.folder.name for server in found.servers if server.label == "b"]
    for text in outputs(found).values():
        told = " ".join(text.split()).replace(f"{suspect} ", f"{suspect}: ")
        assert f"{suspect}: SUSPECT: the client lagged." in told
    assert "the client lagged" not in error_text(found)
    for text in (*outputs(found).values(), error_text(found)):
        assert "b (SUSPECT)" in text
        assert "b: SUSPECT" in text
        assert re.search(r"\bb \((?!SUSPECT)", text) is None
    assert {row["server"]: row["unreliable_because"] for row in csv_rows(found)} == {"a": "", "b": "the client lagged"}


def test_reasons_stand_once_by_run_below_one_line_of_each_server(folder: Folder) -> None:
    other = {"validity": {"verdict": "suspect", "reasons": ["no kernel stamps"]}}
    bad = [folder("b", summary=SUSPECT), folder("b", summary=other), folder("b", summary=SUSPECT)]
    found = compared(folder("a"), *bad, folder("b"))
    line = next(line for line in found.head_notices if line.startswith("b: "))
    assert line.startswith("b: SUSPECT in 3 of 4 runs; ")
    for text in (*outputs(found).values(), error_text(found)):
        assert text.count("SUSPECT in 3 of 4 runs") == 1
    for text in outputs(found).values():
        assert (text.count("the client lagged"), text.count("no kernel stamps")) == (1, 1)
        assert f"{bad[0].name} and {bad[2].name}" in text


def test_a_label_is_no_formula_in_the_csv_file(folder: Folder) -> None:
    rows = csv_rows(compared(folder("=1+1"), folder("@b")))
    assert {(row["base"], row["server"]) for row in rows} == {("'=1+1", "'=1+1"), ("'=1+1", "'@b")}


@pytest.mark.parametrize("status", ["interrupted", "recovered"])
def test_a_run_that_did_not_finish_is_marked_by_how_it_ended(folder: Folder, status: str) -> None:
    found = compared(folder("a"), folder("b", summary={"status": status}))
    assert [server.name for server in found.servers] == ["a", f"b ({status.upper()})"]


def error_text(comparison: RunComparison) -> str:
    """All that stands around a chart."""
    figure = chart_of(comparison, TTFT)
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " ".join([*(text.get_text() for text in figure.texts), *legend])


def test_an_interval_that_is_not_known_is_not_drawn(folder: Folder) -> None:
    """A whisker of no length would say that there is no uncertainty at all."""
    found = compared(folder("short", Course(requests=4)), folder("long"))
    short, long = [entry.pooled.estimate for entry in found.entries if entry.compared is TTFT and entry.pooled]
    assert (short.high, long.certified) == (None, True)
    (axes,) = chart_of(found, TTFT).axes
    drawn = [segment(container) for container in axes.containers if isinstance(container, ErrorbarContainer)]
    assert TTFT.known_ends(short) == (None, None)  # 0 bounds nothing
    assert [ends[1:] for ends in drawn] == [pytest.approx((1000 * (long.low or 0), 1000 * (long.high or 0)))]


def test_an_interval_with_one_end_is_drawn_to_it_with_an_arrow_to_the_open_side(folder: Folder) -> None:
    found = compared(folder("short", Course(requests=44, correlation=0.9)), folder("long"))
    short, _ = [entry.pooled.estimate for entry in found.entries if entry.compared is TTFT and entry.pooled]
    (axes,) = chart_of(found, TTFT).axes
    drawn = sorted(segment(container) for container in axes.containers if isinstance(container, ErrorbarContainer))
    assert (short.low, short.high is None) == (0.0, False)
    assert drawn[0][1:] == pytest.approx((1000 * short.value, 1000 * (short.high or 0)))
    arrows = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]
    assert [text.xyann[1] < 0 for text in arrows] == [True]
    assert "arrow: this end of the interval is not known" in axes.get_xlabel()
    assert (
        comparison_html(found).count("Arrow: this end of the interval is not known.") == 2
    )  # TTFT's bars, Pareto charts


def test_a_figure_without_any_interval_has_no_whisker(folder: Folder) -> None:
    """Of two runs of a server: what differs from run to run cannot be known from two."""
    found = compared(*(folder(name) for name in ("a", "b") for _ in range(2)))
    known = [entry.pooled.estimate for entry in found.entries if entry.compared is TTFT and entry.pooled]
    assert [(estimate.low, estimate.high) for estimate in known] == [(None, None)] * 2
    (axes,) = chart_of(found, TTFT).axes
    assert not [container for container in axes.containers if isinstance(container, ErrorbarContainer)]


def test_the_charts_show_every_figure_with_its_interval(folder: Folder) -> None:
    found = compared(folder("a", *LADDER), folder("b", *LADDER), folder("c", *LADDER))
    figure = chart_of(found, TOKEN_RATE)
    entries = [entry for entry in found.entries if entry.compared is TOKEN_RATE]
    for axes, mode in zip(figure.axes, ("off", "on"), strict=True):
        of_mode = [entry.pooled.estimate for entry in entries if entry.level.system_prompt == mode and entry.pooled]
        bars = [bar for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height()]
        drawn = [bar.get_height() for bar in sorted(bars, key=lambda bar: bar.get_x())]
        assert drawn == pytest.approx([estimate.value for estimate in of_mode])
        ends = sorted(segment(container) for container in axes.containers if isinstance(container, ErrorbarContainer))
        assert [end[1:] for end in ends] == [
            (pytest.approx(estimate.low), pytest.approx(estimate.high)) for estimate in of_mode
        ]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def segment(container: ErrorbarContainer) -> tuple[float, float, float]:
    ((bottom, top),) = container.lines[2][0].get_segments()
    return float(bottom[0]), float(bottom[1]), float(top[1])


# As a person calls it.


def compare(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    parser = ArgumentParser()
    add_arguments(parser)
    code = main(parser.parse_args(list(map(str, arguments))))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_it_prints_the_comparison_and_writes_what_is_asked_for(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    a, b = folder("a"), folder("b")
    files: Sequence[Path] = [tmp_path / name for name in ("c.html", "c.md", "c.csv")]
    options = [
        part for name, file in zip(("--html", "--markdown", "--csv"), files, strict=True) for part in (name, file)
    ]
    code, out, err = compare(capsys, a, b, *options, "--png", tmp_path / "charts")
    found = compared(a, b)
    assert (code, err) == (0, "")
    assert out.startswith(comparison_table(found, 120))
    assert [file.read_text(encoding="utf-8") for file in files] == [
        comparison_html(found),
        comparison_markdown(found),
        comparison_csv(found),
    ]
    charts = [tmp_path / "charts" / name for name in ("ttft.png", "token_rate.png", "pareto.png")]
    assert all(chart.read_bytes().startswith(b"\x89PNG") for chart in charts)
    assert all(f"Chart: {chart}" in out for chart in charts)


def test_unlike_runs_are_2_with_the_difference_named_and_allowed_ones_say_so_everywhere(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder("a", options={"max_tokens": 512}), folder("b", options={"max_tokens": 64})
    code, out, err = compare(capsys, a, b)
    assert (code, out) == (2, "")
    assert f"max_tokens: 512 in {a.name}, 64 in {b.name}" in err
    assert compare(capsys, a, b, "--allow", "max_tokens")[0] == 0
    told = "DIFFERENT SETTINGS: these runs differ in max_tokens (512 in the first run; 64 in another)."
    found = compared(a, b, allowed=["max_tokens"])
    assert all(told in " ".join(text.split()) for text in (*outputs(found).values(), error_text(found)))


def test_an_open_loop_is_compared_with_a_closed_one_on_request_alone(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    arrivals = {"process": "poisson", "rates": [[0.0, 10.0]], "mean_rate": 10.0, "seed": "1"}
    level = {"index": 0, "system_prompt": "off", "level": "10", "ramp_s": 0.0, "level_time_s": 320.0}
    closed, opened = folder("a"), folder("b", plan=[level | {"arrivals": arrivals}], shape="open")
    code, out, err = compare(capsys, closed, opened)
    assert (code, out) == (2, "")
    assert f"arrivals: closed loop in {closed.name}, poisson in {opened.name}" in err
    fields = "shape,arrivals,levels,level_time"
    assert compare(capsys, closed, opened, "--allow", fields.replace("arrivals,", ""))[0] == 2
    assert compare(capsys, closed, opened, "--allow", fields)[0] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--slo", "ttft=1"], "--slo takes terms like ttft=500ms"),
        (["--slo", "ttft_scheduled=1s"], "--slo: ttft_scheduled is of an open loop"),
        (["--allow", "colour"], "--allow takes one of model, prompts, "),
        (["--allow", "suspect"], "--allow suspect is for gate: "),
        (["--csv", "/nowhere/c.csv"], "--csv /nowhere/c.csv cannot be written: there is no folder /nowhere."),
        (["--markdown", "-"], "--markdown takes a file, got '-'; for a file of that name write ./-."),
    ],
)
def test_what_cannot_be_done_is_2_and_one_sentence(
    options: list[str], sentence: str, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = compare(capsys, folder("a"), folder("b"), *options)
    assert code == 2
    assert err.startswith(f"tokenswarm compare: {sentence}")
    assert len(err.splitlines()) == 1


def test_the_nearest_field_is_named_for_an_unknown_one(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = compare(capsys, folder("a"), folder("b"), "--allow", "level")
    assert err.endswith("got 'level'; did you mean levels?\n")


def test_one_folder_alone_is_2(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    alone = folder("a")
    code, out, err = compare(capsys, alone)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert str(alone) in err


def refusals(err: str) -> list[str]:
    """The errors of a comparison, each of which may have several lines."""
    return ["", *err.split("tokenswarm compare: ")][2:]


def test_everything_that_is_wrong_is_said_at_once(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder("a", options={"max_tokens": 512}), folder("b", options={"max_tokens": 64})
    damaged = folder("c")
    (damaged / "summary.json").write_text("{")
    nowhere = tmp_path / "nowhere"
    options = ("--allow", "modle,colour", "--slo", "ttft=1", "--run-variation", "x", "--csv", "/nowhere/c.csv")
    code, out, err = compare(capsys, a, b, a, damaged, nowhere, *options, "--label", "one", "--base", "two")
    assert (code, out) == (2, "")
    found = refusals(err)
    expected = ["modle", "colour", "--slo", "--run-variation", "--csv", "--label", str(damaged), str(nowhere)]
    expected += ["the same run", "max_tokens: 512"]
    assert sorted(next(word for word in expected if word in line) for line in found) == sorted(expected)
    assert "did you mean model?" in err


def test_a_base_that_is_no_server_is_said_beside_what_differs(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder("a", options={"max_tokens": 512}), folder("b", options={"max_tokens": 64})
    _, _, err = compare(capsys, a, b, "--base", "c")
    assert len(refusals(err)) == 2
    assert "--base" in err
    assert "max_tokens" in err


def test_a_run_given_twice_is_not_also_said_to_need_labels(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    one = folder("a")
    (error,) = refusals(compare(capsys, one, one)[2])
    assert "the same run" in error


def test_runs_without_a_common_level_are_offered_no_way_to_compare_them(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder("a", Course(10), options={"max_tokens": 512}), folder("b", Course(20), options={"max_tokens": 64})
    code, _, err = compare(capsys, a, b)
    levels, settings = refusals(err)
    assert code == 2
    assert "10 users" in levels
    assert "20 users" in levels
    assert "max_tokens: 512" in settings
    assert "levels" not in settings  # said already
    assert "--allow" not in err


def test_a_folder_of_runs_alone_is_2_and_names_the_runs(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder("a"), folder("b")
    code, out, err = compare(capsys, a.parent)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{b}, {a}." in err


def test_servers_without_a_level_in_common_are_2_with_the_levels_of_each(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder("a", Course(10), Course(50)), folder("b", Course(20))
    code, out, err = compare(capsys, a, b, "--allow", "levels")
    assert (code, out) == (2, "")
    assert f"{a.name}: 10, 50 users" in err
    assert f"{b.name}: 20 users" in err


def test_a_run_given_twice_is_2(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    one = folder("a")
    code, _, err = compare(capsys, one, one, "--label", "x", "--label", "y")
    assert code == 2
    assert "the same run" in err
