"""What a headless run leaves, prints and exits with."""

from __future__ import annotations

import math
import signal
import statistics
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.forked_process import run_command
from tests.runs.harness import (
    ROOT,
    SHORT_LADDER,
    RunLocust,
    Start,
    StartSimulator,
    assert_whole,
    environment,
    free_port,
)
from tokenswarm.reports.html.run_config import command_of
from tokenswarm.run_folder.reader import load_results

pytestmark = pytest.mark.slow


def test_the_ladder_with_and_without_system_prompt_against_the_embedded_simulator(run_locust: RunLocust) -> None:
    run = run_locust(*SHORT_LADDER, "--slo", "ttft=1s tpot=1s", pictures=True)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert all(chart.stat().st_size > 10_000 for chart in (run.folder / "charts").iterdir())
    assert (run.folder / "report.html").read_text(encoding="utf-8").count("<path") > 50
    assert "the embedded simulator at http://127.0.0.1:" in run.output
    assert not any(of_locust in run.output for of_locust in ("Shape test", "Ramping to", "Shutting down", "Aggregated"))
    assert "Exit code" not in run.output
    assert run.document["status"] == "finished"
    assert "-H" not in command_of(load_results(run.folder)).split()  # its port is gone with the run
    plan = [(stage["system_prompt"], stage["level"]) for stage in run.document["plan"]]
    assert plan == [("off", "2"), ("off", "4"), ("on", "2"), ("on", "4")]
    assert [(level["system_prompt"], level["level"]) for level in run.summary["levels"]] == plan
    assert all(level["complete"] and level["hold"]["ttft_s"]["p50"] for level in run.summary["levels"])
    assert all(level["hold"]["goodput"]["fraction"] == 1.0 for level in run.summary["levels"])
    prompts = {row["system_prompt"]: [] for row in run.requests}
    for row in run.requests:
        assert row["outcome"] == "ok"
        assert row["output_tokens_source"] == "usage"
        prompts[row["system_prompt"]].append(int(row["prompt_tokens"]))
    assert min(prompts["on"]) > max(prompts["off"])
    # A level begins only when the streams of the one before have ended.
    by_stage = [[row for row in run.requests if int(row["level_index"]) == stage] for stage in range(4)]
    for earlier, later in pairwise(by_stage):
        ended = max(float(row["sent_s"]) + float(row["duration_ms"]) / 1000 for row in earlier)
        assert min(float(row["sent_s"]) for row in later) > ended


@pytest.mark.alone
def test_figures_are_those_of_the_server_s_own_log(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "150", "--comments", "--crlf")
    run = run_locust(
        "-H", simulator.host, "-u", "6", "-r", "6", "-t", "3s", "--max-tokens", "40", "--engine", "vllm", "--ignore-eos"
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    truth = simulator.truth()
    assert len(run.requests) == len(truth)
    assert {row["output_tokens"] for row in run.requests} == {"40"} == {row["tokens"] for row in truth}
    assert Counter(row["prompt_tokens"] for row in run.requests) == Counter(row["prompt_tokens"] for row in truth)
    for row in run.requests:
        assert row["stamps"] in ("tap", "kernel", "mixed")
        assert 150 <= float(row["ttft_ms"]) <= float(row["e2e_ms"]) <= float(row["duration_ms"])
    # In the order of sending. A machine that puts the client aside as it sends may spoil a few rows, not the median.
    by_time = zip(
        sorted(run.requests, key=lambda row: float(row["sent_s"])), sorted(truth, key=lambda row: int(row["t_wire_ns"]))
    )
    errors_ms = [
        float(row["ttft_ms"]) - (int(sent["t_first_ns"]) - int(sent["t_wire_ns"])) / 1e6 for row, sent in by_time
    ]
    assert abs(statistics.median(errors_ms)) < 5


@pytest.mark.parametrize(("times", "measured"), [("all", 1.0), ("sampled", 0.1), ("ends", 0.0)])
def test_token_times_change_whose_gaps_are_measured_and_nothing_else(
    run_locust: RunLocust, start_simulator: StartSimulator, times: str, measured: float
) -> None:
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "50", "--step-ms", "4")
    options = ("--max-tokens", "40", "--engine", "vllm", "--ignore-eos", "--token-times", times)
    run = run_locust("-H", simulator.host, "-u", "4", "-r", "4", "-t", "2s", *options)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    rows, whole = run.requests, run.summary["levels"][0]["whole"]
    assert {(row["outcome"], row["output_tokens"]) for row in rows} == {("ok", "40")}
    for row in rows:
        assert float(row["ttft_ms"]) >= 50
        # The last token's time is its own. From the sending: a first token may be read late, no token is sent early.
        assert float(row["e2e_ms"]) >= 50 + 38 * 4
        assert (row["gaps_measured"] == "True") == bool(row["gap_max_ms"])
    with_gaps = sum(row["gaps_measured"] == "True" for row in rows)
    assert with_gaps == math.ceil(measured * len(rows)) == whole["requests_with_gaps"]
    assert bool(whole["gap_s"]["count"]) == bool(measured)
    # A busy machine may read an answer in one arrival, which has no TPOT.
    assert whole["tpot_s"]["count"] + whole["requests_without_tpot"] == len(rows)


def test_an_early_role_event_is_not_the_first_token(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "200", "--role-early-ms", "1")
    run = run_locust("-H", simulator.host, "-u", "2", "-r", "2", "-t", "2s", "--max-tokens", "4")
    assert run.exit_code == 0, run.output
    assert min(float(row["ttft_ms"]) for row in run.requests) >= 200
    # It is kept for those who count it as one. A busy machine may read it with the first token.
    assert min(float(row["first_event_ms"]) for row in run.requests) < 150
    assert all(float(row["first_event_ms"]) <= float(row["ttft_ms"]) for row in run.requests)
    assert {row["events"] for row in run.requests} == {"5"}  # the role, and four tokens, the last with its reason
    told = run_command("report", str(run.folder), "--as", "vllm", env=environment())
    (line,) = [line.split() for line in told.stdout.splitlines() if "mean TTFT" in line]
    assert line[3] == "ms"
    assert float(line[2]) == pytest.approx(
        statistics.mean(float(row["first_event_ms"]) + float(row["connect_ms"]) for row in run.requests), abs=0.006
    )


def test_reasoning_counts_for_the_first_token_but_not_for_the_first_visible_one(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast", "--step-ms", "20", "--reasoning-tokens", "10")
    run = run_locust(
        "-H", simulator.host, "-u", "2", "-r", "2", "-t", "3s", "--max-tokens", "20", "--engine", "vllm", "--ignore-eos"
    )
    assert run.exit_code == 0, run.output
    assert {row["output_tokens"] for row in run.requests} == {"20"}
    # Ten steps of 20 ms; a busy machine may send or read a first token late, and the visible one on time.
    apart_ms = [float(row["ttfvt_ms"]) - float(row["ttft_ms"]) for row in run.requests]
    assert statistics.median(apart_ms) > 9 * 20


@pytest.mark.parametrize(
    ("faults", "options", "outcome", "message"),
    [
        (("--fail-after", "5"), (), "truncated", "the connection ended inside the response's body"),
        (("--stall-after", "5"), ("--idle-timeout", "1s"), "timeout", "no further output for 1 s after 5 outputs"),
        (("--prefill-ms", "5000"), ("--first-token-timeout", "1s"), "timeout", "no output within 1 s"),
    ],
)
def test_a_fault_gives_its_outcome_and_no_latency(
    run_locust: RunLocust,
    start_simulator: StartSimulator,
    faults: tuple[str, ...],
    options: tuple[str, ...],
    outcome: str,
    message: str,
) -> None:
    simulator = start_simulator("--profile", "fast", *faults)
    run = run_locust(
        "-H",
        simulator.host,
        "-u",
        "3",
        "-r",
        "3",
        "-t",
        "2s",
        "--max-tokens",
        "20",
        "--engine",
        "vllm",
        "--ignore-eos",
        *options,
        pictures=True,
    )
    assert run.exit_code == 3, run.output  # nothing was answered
    assert_whole(run)
    assert run.summary["validity"]["reasons"][0].startswith("no request was answered")
    assert run.document["status"] == run.summary["status"] == "failed"
    assert run.document["validity"]["verdict"] == run.summary["validity"]["verdict"] == "failed"
    assert {(row["outcome"], row["error"]) for row in run.requests} == {(outcome, message)}
    assert run.summary["levels"][0]["whole"]["ttft_s"]["count"] == 0
    assert f"{outcome} " in run.output


def test_every_third_request_refused_is_an_http_error_with_the_server_s_words(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast", "--error-every", "3")
    run = run_locust("-H", simulator.host, "-u", "1", "-r", "1", "-t", "4s", "--max-tokens", "8")
    assert run.exit_code == 1
    outcomes = [row["outcome"] for row in run.requests]
    assert outcomes == [("http_error" if (place + 1) % 3 == 0 else "ok") for place in range(len(outcomes))]
    failed = [row for row in run.requests if row["outcome"] == "http_error"]
    assert failed
    assert all(
        row["status"] == "503" and row["error"].startswith("HTTP 503: ") and not row["ttft_ms"] for row in failed
    )


@pytest.mark.parametrize(("allowed", "exit_code"), [("20%", 5), ("50%", 0)])
def test_a_run_fails_by_its_conditions_and_its_files_and_a_later_report_say_the_same(
    allowed: str, exit_code: int, run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    """A third of the requests fail: what the conditions allow of failures is allowed, Locust's own rule or not."""
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12", "--error-every", "3")
    junit, markdown = tmp_path / "junit.xml", tmp_path / "summary.md"
    conditions = ("--fail-if", f"failures > {allowed}", "--fail-if", "p50(ttft)@1 > 10s")
    files = ("--junit", str(junit), "--markdown", str(markdown))
    run = run_locust("-H", simulator.host, "-u", "1", "-r", "1", "-t", "3s", "--max-tokens", "8", *conditions, *files)
    assert run.exit_code == exit_code, run.output
    broken = exit_code == 5
    (line,) = [line.split() for line in run.output.splitlines() if "p50(ttft)@1 > 10s" in line and "1 user " in line]
    assert line[0] == "pass"
    assert f"{'FAIL' if broken else 'pass':<12}  fail if failures > {allowed}" in run.output
    suite = ElementTree.parse(junit).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("3", str(int(broken)), "0")
    assert ("1 of 2 conditions failed" if broken else "all conditions passed") in markdown.read_text(encoding="utf-8")
    again = run_command("report", str(run.folder), *conditions, env=environment())
    assert again.returncode == exit_code, again.stderr
    verdicts = run.output[run.output.index("Conditions:") : run.output.index("Results:")].strip()
    assert verdicts in again.stdout


def test_an_error_inside_the_stream_is_a_stream_error(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast", "--stream-error-after", "3")
    run = run_locust(
        "-H", simulator.host, "-u", "1", "-r", "1", "-t", "3s", "--max-tokens", "9", "--engine", "vllm", "--ignore-eos"
    )
    assert run.exit_code == 3, run.output
    assert {row["outcome"] for row in run.requests} == {"stream_error"}
    assert all(row["error"] for row in run.requests)


@pytest.mark.parametrize(
    ("number", "whole_group", "processes"),
    [(signal.SIGINT, False, 0), (signal.SIGTERM, False, 0), (signal.SIGINT, True, 2)],
    ids=["Ctrl-C", "a cancelled pipeline", "Ctrl-C to a master and its two workers"],
)
def test_what_ends_a_run_in_the_middle_of_a_level_leaves_everything_that_is_known(
    start_locust: Start, number: signal.Signals, whole_group: bool, processes: int
) -> None:
    levels = ("--levels", "3,5", "--ramp", "1s", "--level-time", "60s", "--max-tokens", "4000")
    forked = ("--processes", str(processes)) if processes else ()
    started = start_locust("--headless", *levels, *forked, pictures=True)
    started.wait_for_requests(2)
    started.interrupt(number, whole_group)
    run = started.end()
    assert run.exit_code == 4, run.output
    assert_whole(run)
    assert run.document["status"] == "interrupted"
    assert not run.summary["levels"][0]["complete"]
    assert "INTERRUPTED" in run.output
    assert run.output.index("Exit code 4: ") > run.output.index("Results: ")  # once: workers have nothing to say
    assert run.output.count("Exit code") == 1
    outcomes = Counter(row["outcome"] for row in run.requests)
    assert set(outcomes) == {"ok", "cut"}
    assert 1 <= outcomes["cut"] <= 3
    assert run.summary["levels"][0]["whole"]["failures"] == 0
    assert "Traceback" not in run.output


@pytest.mark.parametrize("processes", [0, 2])
def test_what_ends_the_wait_for_a_server_is_no_traceback(
    start_locust: Start, start_simulator: StartSimulator, processes: int
) -> None:
    simulator = start_simulator("--cold-start-s", "3600")
    forked = ("--processes", str(processes)) if processes else ()
    started = start_locust("--headless", "-H", simulator.host, *forked)
    assert started.process.stdout is not None
    while "Waiting for the server" not in (line := started.process.stdout.readline()):
        assert line, "it ended without waiting"
    started.interrupt(signal.SIGINT, whole_group=True)
    run = started.end()
    assert run.exit_code == 4
    assert "tokenswarm: interrupted before the run began" in run.output
    assert "Traceback" not in run.output


FORK = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background has it ignored
import locustfile
from gevent.monkey import get_original
fork, waitpid, sleep = get_original("os", ["fork", "waitpid"]) + get_original("time", ["sleep"])
ready, tell = os.pipe()
if worker := fork():
    os.read(ready, 1)
    os.kill(worker, 2)
    sys.exit(os.waitstatus_to_exitcode(waitpid(worker, 0)[1]))
os.write(tell, b"!")
for _ in range(300):
    sleep(0.1)
"""


def test_a_worker_that_a_ctrl_c_meets_before_it_is_set_up_ends_in_silence() -> None:
    forked = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (forked.returncode, forked.stderr) == (1, "")  # Locust logs one above that as an error


def test_two_processes_leave_the_same_kind_of_folder(run_locust: RunLocust) -> None:
    run = run_locust("--processes", "2", *SHORT_LADDER, "--system-prompt", "off")
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert {row["worker"] for row in run.requests} == {"0", "1"}
    assert run.document["workers"] == 2


def test_prompts_come_in_a_repeatable_order_that_differs_from_worker_to_worker(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator("--profile", "fast", "--step-ms", "20")
    options = ("-H", simulator.host, "-u", "1", "-t", "2s", "--max-tokens", "4", "--seed", "7")
    first = [row["prompt_id"] for row in run_locust(*options).requests]
    (tmp_path / "results").rename(tmp_path / "first")
    again = [row["prompt_id"] for row in run_locust(*options).requests]
    both = min(len(first), len(again))
    assert both > 5
    assert first[:both] == again[:both]
    (tmp_path / "results").rename(tmp_path / "again")
    two = run_locust(*options[:3], "2", *options[4:], "--processes", "2").requests
    orders = {worker: [row["prompt_id"] for row in two if row["worker"] == worker] for worker in "01"}
    assert orders["0"][:6] != orders["1"][:6]


def test_the_api_key_reaches_the_server_and_nothing_else(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    key = {"LLM_API_KEY": "sk-secret-0123456789"}
    simulator = start_simulator("--profile", "fast", "--api-key-env", "LLM_API_KEY", env=key)
    run = run_locust("-H", simulator.host, "-u", "1", "-t", "2s", "--max-tokens", "4", env=key, pictures=True)
    assert run.exit_code == 0, run.output
    texts = [run.output, *(path.read_text() for path in run.folder.iterdir() if path.is_file())]
    assert not [text for text in texts if key["LLM_API_KEY"] in text]


def test_a_wrong_api_key_is_an_http_error(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast", "--api-key-env", "LLM_API_KEY", env={"LLM_API_KEY": "sk-right"})
    run = run_locust("-H", simulator.host, "--model", "any", "-u", "1", "-t", "2s", env={"LLM_API_KEY": "sk-wrong"})
    assert run.exit_code == 3, run.output
    assert {(row["outcome"], row["status"]) for row in run.requests} == {("http_error", "401")}
    assert "sk-wrong" not in run.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--levels", "ten"), "--levels takes numbers of users like 10,50,100, got 'ten'."),
        (("--ramp", "5m"), "--level-time (5m) must be longer than --ramp (5m): a level holds after its ramp."),
        (("--prompts", "missing.jsonl"), "missing.jsonl"),
        (("--prompt-tokens", "150:30"), "--prompt-tokens"),
        (("--slo", "ttft=fast"), "--slo takes terms like ttft=500ms"),
        (("-H", "ftp://gpu:8000"), "--host must start with http://"),
        (("-H", "http://127.0.0.1:9"), "the server cannot be reached"),
        (("--engine", "openai", "--ignore-eos"), "--ignore-eos: openai has no way to request exactly"),
        (("--engine", "bentoml"), "bentoml streams bare text without any count of tokens; give --tokenizer"),
        (("--engine", "triton", "--chat-template", "no.jinja"), "--chat-template takes llama-3 or the path of a Jinja"),
        (("--max-tokens", "0"), "--max-tokens takes a whole number of at least 1, got 0."),
        (("--system-prompt-file", "missing.txt"), "missing.txt"),
        (("--tokenizer", "missing/tokenizer.json"), "missing/tokenizer.json"),
        (("--results", "/dev/null/results"), "--results /dev/null/results"),
        (("-u", "0"), "--users takes 1 to 1,000,000 users"),
        (
            ("--fail-if", "p95(ttft) > 500"),
            "got a number without a unit\n  p95(ttft) > 500\n",
        ),
        (("--levels", "10,50", "--fail-if", "rate@100 < 5"), "'rate@100 < 5' names a level that is not there"),
        (("--fail-if", "goodput < 95%"), "names goodput, which needs objectives: give --slo"),
        (("--junit", "missing/junit.xml"), "--junit missing/junit.xml cannot be written: there is no folder"),
    ],
)
def test_bad_input_ends_in_one_sentence_with_exit_code_2(
    run_locust: RunLocust, arguments: tuple[str, ...], sentence: str
) -> None:
    run = run_locust(*arguments)
    assert run.exit_code == 2, run.output
    assert sentence in run.output
    assert "Traceback" not in run.output
    assert not run.results.exists() or not list(run.results.iterdir())


def test_a_chat_template_without_an_end_stops_the_run_in_a_sentence(run_locust: RunLocust, tmp_path: Path) -> None:
    loop = "{% for i in range(99999) %}"
    (tmp_path / "endless.jinja").write_text(loop * 3 + "{% endfor %}" * 3 + "{{ messages[-1].content }}")
    run = run_locust("--engine", "triton", "--model", "m", "--chat-template", str(tmp_path / "endless.jinja"))
    assert run.exit_code == 2, run.output
    assert "endless.jinja takes more time or memory than a short request may" in run.output
    assert "Traceback" not in run.output
    assert not run.results.exists() or not list(run.results.iterdir())


def test_tokenswarm_report_tells_a_finished_run_again(run_locust: RunLocust) -> None:
    run = run_locust("-u", "2", "-t", "3s", "--max-tokens", "8", "--print-stats", "--loglevel", "DEBUG")
    assert run.exit_code == 0, run.output
    assert run.output.count("Aggregated") > 2  # Locust's tables: while the run goes on, and at its end
    assert "Shape test" in run.output
    charts = run.folder / "charts"
    for chart in charts.iterdir():
        chart.unlink()
    again = run_command("report", str(run.folder), env=environment())
    assert again.returncode == 0, again.stderr
    table = again.stdout[: again.stdout.index("Page:")].strip()
    assert table in run.output
    assert {path.name for path in charts.iterdir()} == {"ttft.png", "token_rate.png"}


def test_strangers_folders_beside_the_run_are_not_imported(run_locust: RunLocust, tmp_path: Path) -> None:
    strangers = tmp_path / "strangers"
    for room in ("users", "shapes", "prompts", "engines", "wire", "metrics", "reports", "simulator"):
        (strangers / room).mkdir(parents=True)
        (strangers / room / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    run = run_locust("-u", "1", "-t", "2s", "--max-tokens", "4", cwd=strangers)
    assert run.exit_code == 0, run.output
    assert_whole(run)


def test_a_worker_that_cannot_take_part_ends_the_run_loudly(start_locust: Start, tmp_path: Path) -> None:
    """The prompts are there for the master and one worker, not for the other."""
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "my.jsonl").write_text('{"prompt": "What is a token, and why is it not a word?"}\n' * 3)
    port = str(free_port())
    ports = ("--master-port", port, "--master-bind-port", port)
    asked = ("--prompts", "my.jsonl", "--prompt-tokens", "1:99")
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "2", "-u", "2", "-t", "20s", *ports, *asked),
        cwd=tmp_path / "here",
    )
    workers = [start_locust("--worker", *ports, *asked, cwd=tmp_path / folder) for folder in ("here", "elsewhere")]
    run = master.end()
    for worker in workers:
        worker.end()
    assert run.exit_code in (2, 3), run.output
    assert "cannot take part" in run.output
    assert "my.jsonl" in run.output
