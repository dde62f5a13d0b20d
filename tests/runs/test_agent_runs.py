"""Whole runs of sessions with sub-agents, and of sessions of recorded lengths, held against the simulator's log."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.prompts.test_agent_formats import BLOCKS, CALLS
from tests.prompts.test_session_formats import AGENTIC, LISTED
from tests.runs.harness import Run, RunLocust, Simulator, StartSimulator, assert_whole

pytestmark = pytest.mark.slow
#: The simulator's truth log has this header, so that each of its rows names a session.
IN_TRUTH_LOG = ("--session-header", "X-Request-Id")
ANY_LENGTH = ("--prompt-tokens", "1:100000", "--system-prompt", "off")
SPEED = ("--profile", "fast", "--dialect", "vllm", "--cache-blocks", "1000000")
#: By the tokens of their prompts: (agent, depth, turn, delay before it in ms, tokens that the cache has of it).
REQUESTS = {
    1500: ("main", 0, 1, None, 0),
    700: ("main.1", 1, 1, 100, 0),
    920: ("main.1", 1, 2, 200, 640),
    1000: ("main.1", 1, 3, 150, 896),
    600: ("main.2", 1, 1, 120, 64),
    820: ("main.2", 1, 2, 500, 576),
    2000: ("main", 0, 2, 400, 1472),
    2200: ("main", 0, 3, 200, 1984),
}


def request(t: float, tokens: int, ids: list[int], out: int = 5) -> dict[str, Any]:
    return {"t": t, "type": "n", "in": tokens, "out": out, "hash_ids": ids, "api_time": 0.1}


def tree(name: str) -> dict[str, Any]:
    """A session whose first agent has two sub-agents that overlap. Those share their first block."""
    ids = list(range(1, 35))
    x = [
        request(0.2, 700, [101, *range(200, 209)]),
        request(0.5, 920, [101, *range(200, 213)]),
        request(0.75, 1000, [101, *range(200, 214)]),
    ]
    y = [request(0.22, 600, [101, *range(300, 308)], out=20), request(0.82, 820, [101, *range(300, 311)])]
    return {
        "id": name,
        "block_size": 64,
        "hash_id_scope": "local",
        "requests": [
            request(0.0, 1500, ids[:23]),
            {"t": 0.2, "type": "subagent", "agent_id": "x", "requests": x},
            {"t": 0.22, "type": "subagent", "agent_id": "y", "requests": y},
            request(1.32, 2000, ids[:31]),
            request(1.62, 2200, ids),
        ],
    }


@pytest.fixture
def trees(tmp_path: Path) -> str:
    path = tmp_path / "trees.jsonl"
    path.write_text("".join(json.dumps(tree(f"w{number}")) + "\n" for number in range(8)))
    return str(path)


def by_session(rows: list[dict[str, str]], name: str) -> dict[str, dict[int, dict[str, str]]]:
    """By session and tokens of the prompt."""
    found: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    for row in rows:
        if row[name]:
            found[row[name]][int(row["prompt_tokens"])] = row
    return found


def check_trees(run: Run, server: Simulator) -> int:
    """The order of sends, depths, joins and lengths of whole sessions; returns how many there were."""
    rows, truth = by_session(run.requests, "session"), by_session(server.truth(), "x_request_id")
    whole = [session for session, found in truth.items() if len(found) == len(REQUESTS) == len(rows[session])]
    for session in whole:
        sent = {tokens: int(row["t_request_ns"]) for tokens, row in truth[session].items()}
        ended = {tokens: int(row["t_last_ns"]) for tokens, row in truth[session].items()}
        sent_s = {tokens: float(row["sent_s"]) for tokens, row in rows[session].items()}
        ends_s = {tokens: sent_s[tokens] + float(row["duration_ms"]) / 1000 for tokens, row in rows[session].items()}
        # What follows what by the server's clock, and no earlier than its delay behind it by the client's.
        for before, after in ((1500, 700), (700, 920), (920, 1000), (1500, 600), (600, 820), (2000, 2200)):
            assert sent[after] > ended[before]
            assert sent_s[after] >= ends_s[before] + (REQUESTS[after][3] or 0) / 1000 - 1e-6
        joined_s = max(ends_s[1000], ends_s[820])
        assert sent[2000] > max(ended[1000], ended[820])
        assert sent_s[2000] >= joined_s + 0.4 - 1e-6
        assert sent[700] < ended[820]  # beside each other
        assert sent[600] < ended[1000]
        for tokens, (agent, depth, turn, delay_ms, cached) in REQUESTS.items():
            row = rows[session][tokens]
            assert (row["agent"], int(row["depth"]), int(row["turn"])) == (agent, depth, turn)
            assert row["input_tokens_requested"] == truth[session][tokens]["prompt_tokens"] == str(tokens)
            assert row["output_tokens"] == row["output_tokens_requested"]
            assert (row["join_ms"] != "") == (tokens == 2000)
            assert row["think_ms"] == ("" if delay_ms is None else f"{delay_ms:.6f}")
            # The first requests of both begin with one block, and are 20 ms apart, or less on a busy machine.
            assert int(row["cached_tokens"]) in ((cached,) if tokens not in (600, 700) else (0, 64))
        assert {"0"} <= {rows[session][tokens]["cached_tokens"] for tokens in (600, 700)}
        assert float(rows[session][2000]["join_ms"]) == pytest.approx(1000 * (joined_s - ends_s[1500]), abs=0.01)
        assert rows[session][700]["custom_id"].endswith("/x")
    return len(whole)


def check_hits(run: Run) -> None:
    """What the server found in its cache is what was to be found, within one point."""
    prompts = run.summary["levels"][0]["hold"]["prompts"]
    share = prompts["cached_share"]
    assert prompts["expected_share_min"] - 0.01 <= share <= prompts["expected_share_max"] + 0.01


def test_sub_agents_of_users_overlap_and_are_joined(
    run_locust: RunLocust, start_simulator: StartSimulator, trees: str
) -> None:
    server = start_simulator(*SPEED)
    run = run_locust(
        *("-H", server.host, "-u", "3", "-r", "3", "-t", "8s", "--prompts", trees, *ANY_LENGTH, *IN_TRUTH_LOG),
        pictures=True,
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    whole = check_trees(run, server)
    assert whole >= 9
    check_hits(run)
    (level,) = run.summary["levels"]
    found = level["sessions"]
    assert (found["out_of_order"], found["overlapping"], found["failed"]) == (0, 0, 0)
    assert whole <= found["completed"] <= found["started"]
    held = [row for row in run.requests if row["phase"] == "hold"]
    for depth in found["depths"]:
        of_depth = [row for row in held if int(row["depth"]) == depth["depth"]]
        assert depth["requests"] == len(of_depth)
        assert depth["agents"] == sum(row["turn"] == "1" for row in of_depth)
        assert depth["joins"] == sum(row["join_ms"] != "" for row in of_depth)
    assert [depth["depth"] for depth in found["depths"]] == [0, 1]
    assert "join wait" in run.output and "Depth: agents above the request's own" in " ".join(run.output.split())
    assert "Requests of each hold by depth of the agent" in (run.folder / "report.html").read_text()
    lengths = level["hold"]["input_lengths"]
    assert (lengths["equal_share"], lengths["requests"]) == (1.0, len(held))
    assert run.document["prompts"]["sub_agents"] == 16


def test_sessions_with_sub_agents_arrive(run_locust: RunLocust, start_simulator: StartSimulator, trees: str) -> None:
    server = start_simulator(*SPEED)
    run = run_locust(
        *("-H", server.host, "--processes", "2", "--session-rate", "4", "--level-time", "6s", "--prompts", trees),
        *(*ANY_LENGTH, *IN_TRUTH_LOG),
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert check_trees(run, server) >= 10
    check_hits(run)
    sessions = by_session(run.requests, "session")
    assert {row["worker"] for found in sessions.values() for row in found.values()} == {"0", "1"}
    assert all(len({row["worker"] for row in found.values()}) == 1 for found in sessions.values())
    (level,) = run.summary["levels"]
    found, load = level["sessions"], level["open_loop"]
    assert (found["started"], found["out_of_order"], found["overlapping"]) == (len(sessions), 0, 0)
    assert (load["offered"], load["not_sent"]) == (len(sessions), 0)


def test_prompts_longer_than_the_context_are_told_apart(
    run_locust: RunLocust, start_simulator: StartSimulator, trees: str
) -> None:
    server = start_simulator(*SPEED, "--max-model-len", "1900")
    run = run_locust(
        *("-H", server.host, "-u", "3", "-r", "3", "-t", "5s", "--prompts", trees, *ANY_LENGTH, *IN_TRUTH_LOG),
        *("--wait-after-failure", "0"),
    )
    assert run.exit_code == 1, run.output
    rows, (level,) = run.requests, run.summary["levels"]
    by_tokens = {int(row["input_tokens_requested"]): row["outcome"] for row in rows if row["outcome"] != "cut"}
    assert by_tokens == {tokens: "context_overflow" if tokens == 2000 else "ok" for tokens in REQUESTS if tokens < 2200}
    overflowed = sum(row["outcome"] == "context_overflow" for row in rows)
    assert level["whole"]["outcomes"]["context_overflow"] == level["whole"]["failures"] == overflowed >= 3
    assert level["sessions"]["overflowed"] == level["sessions"]["failed"] == overflowed
    said = " ".join(run.output.split())
    assert f"{overflowed} of {len(rows)} requests of the whole level; they ended {overflowed} sessions" in said


def test_users_begin_at_random_moments_of_the_ramp(
    run_locust: RunLocust, start_simulator: StartSimulator, trees: str
) -> None:
    server = start_simulator(*SPEED)
    run = run_locust(
        *("-H", server.host, "--levels", "6", "--ramp", "4s", "--level-time", "6s", "--prompts", trees, *ANY_LENGTH),
        *("--random-start", "--settle", "0s"),
    )
    assert run.exit_code == 0, run.output
    assert run.document["plan"][0]["random_start"] is True
    rows = run.requests
    firsts = sorted(
        min(float(row["sent_s"]) for row in rows if row["user"] == user) for user in {r["user"] for r in rows}
    )
    assert len(firsts) == 6
    gaps = [later - earlier for earlier, later in pairwise(firsts)]
    assert max(gaps) - min(gaps) > 0.2  # evenly spread they would be 0.67 s each
    assert firsts[-1] <= 4.5


def call(name: str, prompt: int, cached: int, at: float) -> dict[str, Any]:
    tokens = {"total": prompt + 8, "prompt": prompt, "completion": 8, "cached": cached}
    return {
        "message_id": name,
        "timestamp": f"2026-06-01T00:00:{at:06.3f}Z",
        "duration_ms": 100.0,
        "initiator_type": "agent",
        "tokens": tokens,
        "message_metadata": [],
    }


def test_calls_of_a_coding_agent_have_recorded_lengths_and_hits(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    turns = [
        {
            "llm_calls": [call("a", 2000, 0, 0.0), call("b", 2300, 1984, 0.2), call("c", 2700, 2240, 0.5)],
            "tool_batches": [{"request_id": "a", "duration_ms": 60.0}, {"request_id": "b", "duration_ms": 90.0}],
        },
        {"llm_calls": [call("d", 2900, 2688, 1.2), call("e", 3100, 1024, 1.5)], "tool_batches": []},
    ]
    path = tmp_path / "calls.jsonl.gz"
    rows = "".join(json.dumps({"session_id": f"s{number}", "turns": turns}) + "\n" for number in range(6))
    path.write_bytes(gzip.compress(rows.encode()))
    server = start_simulator(*SPEED)
    run = run_locust(
        *("-H", server.host, "-u", "2", "-r", "2", "-t", "6s", "--prompts", str(path), *ANY_LENGTH, *IN_TRUTH_LOG)
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    check_hits(run)
    sessions = by_session(run.requests, "session")
    expected = {2000: 0, 2300: 1984, 2700: 2240, 2900: 2688, 3100: 1024}
    delays = {2000: "", 2300: "60.000000", 2700: "90.000000", 2900: "600.000", 3100: "0.000000"}
    whole = [found for found in sessions.values() if len(found) == len(expected)]
    assert len(whole) >= 6
    for found in sessions.values():
        for tokens, row in found.items():
            assert int(row["cached_tokens"]) == expected[tokens]
            assert row["output_tokens"] == "8"
            assert row["think_ms"].startswith(delays[tokens])
            assert (row["agent"], row["depth"], row["join_ms"]) == ("", "", "")


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one", "two"])
def test_a_level_ends_when_the_first_user_has_no_further_session(
    run_locust: RunLocust, start_simulator: StartSimulator, trees: str, processes: tuple[str, ...]
) -> None:
    server = start_simulator(*SPEED)
    run = run_locust(
        *("-H", server.host, "-u", "4", "-r", "4", "-t", "60s", "--prompts", trees, *ANY_LENGTH, *IN_TRUTH_LOG),
        *("--session-supply", "once", *processes),
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    rows, (level,) = run.requests, run.summary["levels"]
    began = [row for row in rows if row["turn"] == "1" and row["depth"] == "0"]
    assert len({row["prompt_id"] for row in began}) == len(began) == level["sessions"]["started"] == 8
    assert level["complete"]
    dry_s = level["sessions"]["ran_dry_s"]
    assert level["whole"]["seconds"] == pytest.approx(dry_s) and dry_s < 50
    assert level["sessions"]["repeated"] == 0
    said = " ".join(run.output.split())
    assert "!!! OUT OF SESSIONS: 4 users without system prompt: the load ended after" in said
    if not processes:  # workers stop a moment after their master has decided to
        assert max(float(row["sent_s"]) for row in rows) <= dry_s + 1


#: The lines of other tools' documents, by format: what is sent of them in each session, as tokens or as roles.
EXAMPLES: dict[str, tuple[list[str], list[Any]]] = {
    "kv-cache-tester": ([BLOCKS], [150, 230]),
    "Copilot": ([CALLS], [5000]),
    "MLPerf": (list(AGENTIC), [["system", "user"], ["system", "user", "assistant", "tool"]]),
    "SGLang": ([LISTED], [["system", "user"], ["system", "user", "assistant", "user"]]),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_example_lines_are_replayed(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, kind: str
) -> None:
    lines, expected = EXAMPLES[kind]
    (tmp_path / "example.jsonl").write_text("".join(f"{line}\n" for line in lines))
    log = tmp_path / "requests.jsonl"
    server = start_simulator(*SPEED, "--request-log", str(log))
    run = run_locust(
        *("-H", server.host, "-u", "1", "-r", "1", "-t", "4s", "--prompts", str(tmp_path / "example.jsonl")),
        *(*ANY_LENGTH, *IN_TRUTH_LOG),
        *(("--longest-delay", "200ms") if kind in ("kv-cache-tester", "MLPerf") else ()),  # others record none
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    ok = [row for row in run.requests if row["outcome"] == "ok"]
    assert len(ok) >= 2 * len(expected)
    if isinstance(expected[0], int):
        for row in ok:
            assert row["input_tokens_requested"] == row["prompt_tokens"] == str(expected[int(row["turn"]) - 1])
            assert row["output_tokens_requested"] == row["output_tokens"]
        if kind == "kv-cache-tester":
            assert {row["cached_tokens"] for row in ok if row["turn"] == "2"} == {"128"}
        check_hits(run)
        return
    bodies = [json.loads(line) for line in log.read_text().splitlines()]
    sent = [each for each in bodies if each["method"] == "POST" and "x-request-id" in each["headers"]]
    by_name: dict[str, list[list[str]]] = defaultdict(list)
    for each in sent:
        roles = [message["role"] for message in each["body"]["messages"]]
        by_name[each["headers"]["x-request-id"]].append(roles)
    assert all(found == expected[: len(found)] for found in by_name.values())
    assert expected in by_name.values()
