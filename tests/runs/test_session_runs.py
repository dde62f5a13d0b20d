"""Whole runs with sessions of several turns, held against what the simulator received and sent."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reports.reading import Tables
from tests.runs.harness import Run, RunLocust, Simulator, StartSimulator, assert_whole
from tokenswarm.metrics.gap_audit import gap_fit
from tokenswarm.simulator.prefix_cache import BLOCK_TOKENS
from tokenswarm.simulator.profiles import PROFILES
from tokenswarm.simulator.tokens import AnswerGenerator

pytestmark = pytest.mark.slow
#: The simulator's truth log has this header, so that each of its rows names a session.
IN_TRUTH_LOG = ("--session-header", "X-Request-Id")
TURNS = 8
THINK_MS = 50.0


def bodies_of(log: Path) -> dict[str, list[dict[str, Any]]]:
    """By session, the bodies of its requests in the order in which they came."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in log.read_text().splitlines():
        request = json.loads(line)
        if request["method"] == "POST" and (session := request["headers"].get("x-request-id")):
            found[session].append(request["body"])
    return found


def truth_of(simulator: Simulator) -> dict[str, list[dict[str, str]]]:
    """By session, what the simulator logged of its requests, in the order in which they came."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in sorted(simulator.truth(), key=lambda row: int(row["t_request_ns"])):
        if row["x_request_id"]:
            found[row["x_request_id"]].append(row)
    return found


def rows_of(run: Run) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in sorted(run.requests, key=lambda row: float(row["sent_s"])):
        found[row["session"]].append(row)
    return found


def answer_of(row: dict[str, str], body: dict[str, Any]) -> str:
    """What the simulator sent, by its own account."""
    profile = PROFILES["fast"]
    answers = AnswerGenerator(0, profile.answer_median_tokens, profile.answer_sigma)
    ignore_eos = body.get("ignore_eos", False)
    return answers.draw(int(row["id"]), body["max_tokens"], body.get("min_tokens", 0), ignore_eos).text()


def test_turns_carry_the_history_with_the_server_s_own_answers(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--profile", "fast", "--dialect", "lmdeploy", "--request-log", str(log))
    run = run_locust(
        *("-H", server.host, "-u", "16", "-r", "16", "-t", "8s", "--turns", str(TURNS), *IN_TRUTH_LOG),
        *("--input-tokens", "u(60,80)", "--output-tokens", "u(4,9)", "--think-time", f"exp({THINK_MS:g}ms)"),
        *("--markdown", str(tmp_path / "run.md")),
        pictures=True,
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    bodies, truth, rows = bodies_of(log), truth_of(server), rows_of(run)
    assert set(bodies) == set(rows)
    whole = [session for session, of_session in rows.items() if len(of_session) == TURNS]
    assert len(whole) >= 100
    for session in rows:
        assert [row["turn"] for row in rows[session]] == [str(turn) for turn in range(1, len(rows[session]) + 1)]
        assert {row["session_turns"] for row in rows[session]} == {str(TURNS)}
        history: list[dict[str, str]] = []
        for turn, (row, body) in enumerate(zip(truth[session], bodies[session], strict=False), start=1):
            messages = body["messages"]
            assert len(messages) == 2 * turn - 1
            assert messages[:-1] == history
            assert messages[-1]["role"] == "user"
            history = [*messages, {"role": "assistant", "content": answer_of(row, body)}]
        # One request after the other, on one connection.
        for before, row in pairwise(truth[session]):
            assert int(row["t_request_ns"]) > int(before["t_last_ns"])
        assert len({row["t_accept_ns"] for row in truth[session]}) <= 1  # none, where the run's end cut its first
        for before, row in pairwise(rows[session]):
            assert float(row["sent_s"]) > float(before["sent_s"]) + float(before["duration_ms"]) / 1000
    # What the turns before have is in the server's prefix cache.
    for session in whole:
        for before, row in pairwise(truth[session]):
            assert int(row["cached_tokens"]) >= int(before["prompt_tokens"]) // BLOCK_TOKENS * BLOCK_TOKENS
    check_think_times(run)
    check_figures(run, rows, truth)
    # Prompts of later turns are as long as the turn before, its answer and the new message make them.
    ok = [row for row in run.requests if row["outcome"] == "ok"]
    assert all(row["input_tokens_requested"] == row["prompt_tokens"] for row in ok)
    lengths = run.summary["levels"][0]["whole"]["input_lengths"]
    assert (lengths["requests"], lengths["equal_share"]) == (len(ok), 1.0)
    assert "| level | turn | requests sent |" in (tmp_path / "run.md").read_text()


def check_figures(run: Run, rows: dict[str, list[dict[str, str]]], truth: dict[str, list[dict[str, str]]]) -> None:
    """Sessions and turns as they are in requests.csv and in the simulator's own log."""
    found = run.summary["levels"][0]["sessions"]
    whole = [
        of_session for of_session in rows.values() if len(of_session) == TURNS and of_session[-1]["outcome"] == "ok"
    ]
    assert (found["started"], found["completed"], found["failed"]) == (len(rows), len(whole), 0)
    assert found["unfinished"] == len(rows) - len(whole)
    assert (found["out_of_order"], found["overlapping"], found["turns_mean"]) == (0, 0, TURNS)
    waited_ms = [sum(float(row["e2e_ms"]) for row in of_session) for of_session in whole]
    assert found["waited_s"]["mean"] == pytest.approx(sum(waited_ms) / len(waited_ms) / 1000, rel=0.01)
    lasted_s = [
        float(last["sent_s"]) - float(first["sent_s"]) + float(last["duration_ms"]) / 1000 for first, *_, last in whole
    ]
    assert found["duration_s"]["mean"] == pytest.approx(sum(lasted_s) / len(lasted_s), rel=0.02)
    assert [turn["turn"] for turn in found["turns"]] == list(range(1, TURNS + 1))
    for turn in found["turns"]:
        of_turn = [
            (row, served)
            for session, of_session in rows.items()
            for row, served in zip(of_session, truth[session], strict=False)
            if row["turn"] == str(turn["turn"]) and row["phase"] == "hold" and row["outcome"] == "ok"
        ]
        assert (turn["ttft_s"]["count"], turn["failures"]) == (len(of_turn), 0)
        prompts = [int(served["prompt_tokens"]) for _, served in of_turn]
        cached = [int(served["cached_tokens"]) for _, served in of_turn]
        assert turn["prompt_tokens_mean"] == pytest.approx(sum(prompts) / len(prompts))
        assert turn["cached_share"] == pytest.approx(sum(cached) / sum(prompts))
    assert sum(group["requests"] for group in found["uncached"]) == sum(t["ttft_s"]["count"] for t in found["turns"])
    page = Tables((run.folder / "report.html").read_text())
    (level,) = set(page.columns("Sessions of each level")["level"])
    by_turn = page.columns("Requests of each hold by turn")
    assert [by_turn["level"][0], by_turn["turn"]] == [level, [str(turn["turn"]) for turn in found["turns"]]]
    assert set(page.columns("TTFT of each hold by uncached input tokens")["level"]) == {level}
    assert "-- sessions --" in run.output
    assert "PREFIX-CACHE HITS" not in run.output


def check_think_times(run: Run) -> None:
    drawn_ms, pauses_ms = [], []
    of_users: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in sorted(run.requests, key=lambda row: float(row["sent_s"])):
        of_users[row["user"]].append(row)
    for of_user in of_users.values():
        for before, row in pairwise(of_user):
            drawn_ms.append(float(row["think_ms"]))
            ended_s = float(before["sent_s"]) + float(before["duration_ms"]) / 1000
            pauses_ms.append((float(row["sent_s"]) - ended_s) * 1000 - float(row["connect_ms"]))
    fit = gap_fit(np.array(drawn_ms) / THINK_MS, lambda gaps: 1 - np.exp(-np.maximum(gaps, 0)))
    assert fit is not None
    assert fit.gaps > 500
    assert fit.chance > 0.01
    assert min(np.array(pauses_ms) - np.array(drawn_ms)) > -0.1  # how much longer, the machine decides


CONVERSATIONS = [
    {
        "id": f"c{number}",
        "messages": [
            {"role": "assistant" if place % 2 else "user", "content": f"Message {place} of conversation {number}."}
            for place in range(2 * (2 + number % 3))
        ],
    }
    for number in range(12)
]


def test_recorded_conversations_are_divided_among_workers_and_sent_as_they_are(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    """Each one in turn, before any comes again."""
    (tmp_path / "conversations.json").write_text(json.dumps(CONVERSATIONS))
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--profile", "fast", "--request-log", str(log))
    run = run_locust(
        *("-H", server.host, "--processes", "2", "-u", "4", "-r", "4", "-t", "3s", "--max-tokens", "8"),
        *("--prompts", str(tmp_path / "conversations.json"), "--prompt-tokens", "1:99", "--prompt-reuse", "always"),
        *("--answers", "recorded", *IN_TRUTH_LOG),
    )
    assert run.exit_code == 0, run.output
    rows, bodies = rows_of(run), bodies_of(log)
    places = {session: int(of_session[0]["prompt_id"]) - 1 for session, of_session in rows.items()}
    for session, of_session in bodies.items():
        messages = CONVERSATIONS[places[session]]["messages"]
        assert [body["messages"] for body in of_session] == [
            messages[: 2 * turn + 1] for turn in range(len(of_session))
        ]
    for worker in (0, 1):  # each sends its half of each round, in which all are
        mine = sorted(int(session) for session in rows if rows[session][0]["worker"] == str(worker))
        assert all(number % 2 == worker for number in mine)
    both = [number for number in range(12) if str(number) in places]
    assert len(both) == len({places[str(number)] for number in both}) == 12
    assert run.document["prompts"]["sessions"] == 12
    assert Counter(row["worker"] for row in run.requests).keys() == {"0", "1"}


def test_a_failed_turn_ends_its_session_and_delays_of_a_file_are_kept(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    turns = [{"text": "How are you?"}, {"text": "And now?", "delay": 300}, {"text": "And in the end?"}]
    (tmp_path / "turns.jsonl").write_text(json.dumps({"session_id": "s", "turns": turns}) + "\n")
    server = start_simulator("--profile", "fast", "--error-every", "7")
    run = run_locust(
        *("-H", server.host, "-u", "2", "-r", "2", "-t", "4s", "--max-tokens", "8", "--wait-after-failure", "0"),
        *("--prompts", str(tmp_path / "turns.jsonl"), "--prompt-tokens", "1:99", *IN_TRUTH_LOG),
    )
    assert run.exit_code == 1, run.output
    rows = rows_of(run)
    failed = [of_session for of_session in rows.values() if of_session[-1]["outcome"] == "http_error"]
    level = run.summary["levels"][0]
    assert level["sessions"]["failed"] == len(failed) > 2
    assert level["think_time"]["requested"] == "recorded delays"
    assert level["think_time"]["drawn_mean_s"] == pytest.approx(0.3)
    for of_session in rows.values():
        assert all(row["outcome"] == "ok" for row in of_session[:-1])
        for before, row in pairwise(of_session):
            pause_s = float(row["sent_s"]) - float(before["sent_s"]) - float(before["duration_ms"]) / 1000
            assert (row["think_ms"], pause_s >= 0.3) == (("300.000000", True) if row["turn"] == "2" else ("", False))


def test_sessions_arrive_and_run_their_turns_on_their_own(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    server = start_simulator("--profile", "fast")
    run = run_locust(
        *("-H", server.host, "--processes", "2", "--session-rate", "12", "--level-time", "5s", *IN_TRUTH_LOG),
        *("--turns", "u(1,4)", "--input-tokens", "u(40,60)", "--output-tokens", "4", "--think-time", "exp(200ms)"),
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    rows, truth = rows_of(run), truth_of(server)
    for session, of_session in rows.items():
        assert [int(row["turn"]) for row in of_session] == list(range(1, len(of_session) + 1))
        assert len({(row["worker"], row["session_turns"]) for row in of_session}) == 1
        assert len({row["t_accept_ns"] for row in truth[session]}) <= 1  # none, where the run's end cut its first
        for before, row in pairwise(of_session):
            ended_s = float(before["sent_s"]) + float(before["duration_ms"]) / 1000
            due_s = ended_s + float(row["think_ms"]) / 1000
            assert float(row["scheduled_s"]) == pytest.approx(due_s, abs=0.002)
            assert float(row["sent_s"]) >= float(row["scheduled_s"])
        for before, row in pairwise(truth[session]):
            assert int(row["t_request_ns"]) > int(before["t_last_ns"])
    assert {of_session[0]["worker"] for of_session in rows.values()} == {"0", "1"}
    (level,) = run.summary["levels"]
    found, load, audit = level["sessions"], level["open_loop"], level["load_audit"]
    assert level["level"] == "12 sessions/s"
    assert (found["started"], found["out_of_order"], found["overlapping"]) == (len(rows), 0, 0)
    assert (load["offered"], load["not_sent"]) == (len(rows), 0)
    assert (audit["unit"], audit["as_requested"]) == ("sessions/s", True)
    assert audit["measured"] == pytest.approx(len(rows) / 5, rel=0.01)
    whole = [of_session for of_session in rows.values() if len(of_session) == int(of_session[0]["session_turns"])]
    assert found["completed"] == len(whole)
    # Several are under way at once, whatever became of the ones before.
    spans = [(float(each[0]["sent_s"]), float(each[-1]["sent_s"])) for each in whole]
    assert any(one[0] < other[0] < one[1] for one in spans for other in spans)
    assert level["think_time"]["pauses"] == len(run.requests) - len(rows)
    assert {row["requests_offered"] for row in run.windows} == {""}
