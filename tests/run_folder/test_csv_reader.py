"""requests.csv and windows.csv as columns, as a real journal writes them."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenswarm.run_folder.csv_reader import load_requests, load_windows, read_rows
from tokenswarm.run_folder.reader import ReportError, load_results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS, WINDOW_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., Path]


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def request(sent_s: float, ttft_ms: float | str = 50.0, **changes: Any) -> dict[str, Any]:
    facts = {"id": f"0-{sent_s}", "worker": 0, "user": "0.1", "level_index": 0, "phase": "hold", "outcome": "ok"}
    return facts | {"sent_s": sent_s, "ttft_ms": ttft_ms, "output_tokens": 7} | changes


def test_requests_are_told_in_the_order_they_were_sent_in_seconds(write_run: Write) -> None:
    folder = write_run()
    rows = [
        request(3.0, 70.0, user="0.2"),
        request(1.0, 50.0, phase="ramp"),
        request(2.0, "", outcome="http_error", error='said "no",\nand hung up'),
        request(4.0, "", outcome="cut", level_index=1),
    ]
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, rows)
    results = load_results(folder)
    requests = load_requests(results, ["ttft", "output_tokens"])
    assert requests.sent_s.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert requests.hold.tolist() == [False, True, True, True]
    assert requests.ok.tolist() == [True, False, True, False]
    assert requests.failed.tolist() == [False, True, False, False]
    assert requests.user[0] == requests.user[1] != requests.user[2]
    np.testing.assert_array_equal(requests.figures["ttft"], [0.05, np.nan, 0.07, np.nan])
    assert requests.figures["output_tokens"].tolist() == [7.0] * 4
    first, second = results.summary.levels[:2]
    assert requests.of(first).latencies("ttft").tolist() == [0.07]
    assert requests.of(first, hold=False).latencies("ttft").tolist() == [0.05, 0.07]
    assert len(requests.of(second)) == 1


def test_requests_of_one_millisecond_stay_in_the_order_of_the_file(write_run: Write) -> None:
    """The summary's intervals depend on the order: a comparison would show others than the run's page."""
    folder = write_run()
    sent_s = [1.0018, 1.0012, 1.0005, 1.0029]
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [request(each) for each in sent_s])
    assert load_requests(load_results(folder), ["ttft"]).sent_s.tolist() == [1.0005, 1.0018, 1.0012, 1.0029]


@pytest.mark.slow
def test_pandas_is_not_loaded_to_read_them(write_run: Write) -> None:
    """It takes half a second of every run's end."""
    folder = write_run()
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [request(1.0, ""), request(2.0)])
    code = (
        "import sys, pathlib; from tokenswarm.run_folder.csv_reader import *; "
        "from tokenswarm.run_folder.reader import load_results; results = load_results(pathlib.Path(sys.argv[1])); "
        "load_windows(results); print(len(load_requests(results, ['ttft'])), 'pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["2", "False"]


def test_a_column_that_an_older_folder_lacks_is_undefined(write_run: Write) -> None:
    folder = write_run()
    older = tuple(name for name in REQUEST_COLUMNS if name != "ttfvt_ms")
    write_csv(folder / "requests.csv", older, [request(1.0)])
    assert np.isnan(load_requests(load_results(folder), ["ttfvt"]).figures["ttfvt"]).all()


def test_only_whole_windows_inside_the_hold_are_its_rates(write_run: Write) -> None:
    """A ramp of 20 s, a level of 300 s that begins 1.5 s into the run: windows 4 to 59 are the hold's."""
    folder = write_run()
    rows = [
        {
            "start_s": f"{1.5 + 5 * number:.3f}",
            "end_s": f"{6.5 + 5 * number:.3f}",
            "level_index": 0,
            "token_rate": number,
        }
        for number in range(62)
    ]
    rows.append({"start_s": "311.5", "end_s": "312.0", "level_index": 0, "token_rate": 999})
    rows.append({"start_s": "312.0", "end_s": "317.0", "level_index": 1, "token_rate": 999})
    write_csv(folder / "windows.csv", WINDOW_COLUMNS, rows)
    results = load_results(folder)
    assert load_windows(results).hold_rates(results, results.summary.levels[0]).tolist() == list(range(4, 60))
    assert load_windows(results).hold_rates(results, results.summary.levels[1]).tolist() == []


def test_a_file_that_is_missing_or_damaged_is_one_sentence(write_run: Write) -> None:
    folder = write_run()
    results = load_results(folder)
    (folder / "requests.csv").unlink()
    with pytest.raises(ReportError, match=r"requests\.csv is missing; the folder is not as a run left it\.$"):
        load_requests(results, ["ttft"])
    (folder / "requests.csv").write_text("stage,phase,outcome,user,sent_s,ttft_ms\n0,hold,ok,0.1,soon,5\n")
    with pytest.raises(ReportError, match=r"requests\.csv is not as a run writes it: .*soon"):
        load_requests(results, ["ttft"])


def test_rows_are_read_in_blocks_however_long_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    error = 'said "no",\nand hung up' + "!" * 500
    rows = [request(float(place), "", error=error, outcome="http_error") for place in range(5000)]
    write_csv(path, REQUEST_COLUMNS, rows)
    blocks = list(read_rows(path, ["sent_s", "ttft_ms", "error", "level", "not_yet"], text=("error", "level")))
    assert len(blocks) > 1
    assert max(len(block["sent_s"]) for block in blocks) < 3000
    assert [sent_s for block in blocks for sent_s in block["sent_s"]] == [float(place) for place in range(5000)]
    of_first = {name: values[0] for name, values in blocks[0].items()}
    assert of_first == {"sent_s": 0.0, "ttft_ms": None, "error": error, "level": None, "not_yet": None}


def test_a_file_without_rows_has_no_block_of_any(tmp_path: Path) -> None:
    write_csv(tmp_path / "requests.csv", REQUEST_COLUMNS, [])
    assert [row for block in read_rows(tmp_path / "requests.csv", ["sent_s"]) for row in block["sent_s"]] == []


def test_rows_of_a_damaged_or_missing_file_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    with pytest.raises(ReportError, match=r"requests.csv is missing"):
        list(read_rows(path, ["sent_s"]))
    write_csv(path, REQUEST_COLUMNS, [request(1.0), request(1.0) | {"sent_s": "soon"}])
    with pytest.raises(ReportError, match=r"requests.csv is not as a run writes it: .*soon"):
        list(read_rows(path, ["sent_s"]))
