"""The simulator as a command: its one line, its end, and options that cannot be met."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAM = "python -m tokenswarm.simulator: "
Start = Callable[..., Any]
Chat = Callable[..., dict[str, Any]]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tokenswarm.simulator", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


def test_one_line_says_where_it_listens(start: Start) -> None:
    simulator = start("--model", "llama")
    assert re.fullmatch(
        r"tokenswarm simulator listening on http://127\.0\.0\.1:\d+ \(profile fast, dialect vllm, model llama\)\n",
        simulator.greeting,
    )
    assert simulator.stop() == 0
    assert simulator.process.communicate() == ("", "")


def test_a_terminated_server_cuts_its_streams_logs_them_and_exits_with_0(start: Start, chat: Chat) -> None:
    simulator = start("--max-model-len", "1000000")
    client = simulator.client()
    client.generation(chat(max_tokens=900_000))
    client.head()
    client.chunk()
    assert simulator.stop() == 0
    assert not client.rest().endswith(b"0\r\n\r\n")
    (row,) = simulator.rows(1)
    assert row["outcome"] == "cut" and int(row["tokens"]) > 0


def test_an_interrupt_ends_it_as_cleanly(start: Start) -> None:
    simulator = start()
    simulator.process.send_signal(2)
    assert simulator.process.wait(20) == 0
    assert simulator.process.communicate() == ("", "")


@pytest.mark.parametrize("attempt", range(5))
def test_signals_during_its_end_change_nothing(start: Start, attempt: int) -> None:
    simulator = start()
    with suppress(ProcessLookupError):
        while simulator.process.poll() is None:
            simulator.process.terminate()
    assert simulator.process.wait(20) == 0
    assert simulator.process.communicate() == ("", "")


def test_it_ends_when_its_input_closes_if_told_to(start: Start) -> None:
    simulator = start("--exit-with-parent")
    simulator.close_input()
    assert simulator.process.wait(20) == 0


def test_it_outlives_its_input_unless_told_otherwise(start: Start) -> None:
    simulator = start()
    simulator.close_input()
    assert simulator.get("/health")[0] == 200


def test_it_ends_when_its_parent_dies_though_its_input_stays_open() -> None:
    parent = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-m', 'tokenswarm.simulator', '--port', '0', '--exit-with-parent'],"
        " stdout=subprocess.PIPE, text=True);"
        "print(child.stdout.readline().split()[4], flush=True)"
    )
    # The simulator inherits both pipes, so standard error ends when it does, and this test holds its input open.
    process = subprocess.Popen(
        [sys.executable, "-c", parent], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None and process.stdin is not None
    url = process.stdout.readline().decode().strip()
    assert process.wait(20) == 0
    assert process.stderr.read() == b""
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_it_ends_when_its_parent_died_as_soon_as_it_had_the_address() -> None:
    # The address is out, and from then on the parent is another one: init, as it is for an orphan.
    orphaned = (
        "import builtins, os, runpy, sys; living, say = os.getppid(), print\n"
        "def last_word(*words, **how):\n"
        "    say(*words, **how); os.getppid = lambda: living + 1\n"
        "builtins.print = last_word; sys.argv = ['simulator', '--port', '0', '--exit-with-parent']\n"
        "runpy.run_module('tokenswarm.simulator', run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", orphaned], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and b"listening on" in process.stdout.readline()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--profile", "warp"], "unknown profile 'warp': expected one of default, fast, vllm-llama3-8b, "),
        (["--step-ms", "0"], "--step-ms must be from 0.001 to 1e+06, got 0.\n"),
        (["--max-batch", "-1"], "--max-batch must be from 1 to 1e+06, got -1.\n"),
        (["--per-chunk", "0"], "--per-chunk must be from 1 to 1e+09, got 0.\n"),
        (["--gather", "-1"], "--gather must be from 0 to 1e+09, got -1.\n"),
        (["--gather", "x"], "argument --gather: takes a number of events, or all, got 'x'. See "),
        (["--dialect", "anthropic", "--no-done"], "the anthropic dialect has no [DONE]: leave out --no-done, or "),
        (["--role-early-ms", "-1"], "--role-early-ms must be from 0 to 1e+09, got -1.\n"),
        (["--max-model-len", "1"], "--max-model-len must be from 16 to 1e+09, got 1.\n"),
        (["--truth-log", "/no/such/folder/x.csv"], "cannot write the truth log /no/such/folder/x.csv: "),
        (["--truth-log", "/dev/full"], "--truth-log takes a file, but /dev/full is a device.\n"),
        (["--truth-log", "/dev"], "--truth-log takes a file, but /dev is a folder.\n"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "--api-key-env names NOT_SET_ANYWHERE, which is not set "),
        (["--api-key-env", "sk-secret"], "--api-key-env takes the name of a variable, and what it got is not set "),
        (["--port", "99999"], "the port must be from 0 to 65535, got 99999; choose another --port.\n"),
        (["--host", "256.0.0.1"], "--host 256.0.0.1 is no address on which this machine can listen ("),
        (
            ["--host", "192.0.2.1"],
            f"--host 192.0.2.1 is no address on which this machine can listen ({os.strerror(99)})",
        ),
        (
            ["--port", "x"],
            "argument --port: invalid int value: 'x'. See python -m tokenswarm.simulator --help.\n",
        ),
        (["--warp"], "unrecognized arguments: --warp. See python -m tokenswarm.simulator --help.\n"),
    ],
)
def test_an_option_that_cannot_be_met_is_one_sentence_and_exit_2(options: list[str], complaint: str) -> None:
    result = run("--port", "0", *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(PROGRAM + complaint) and result.stderr.count("\n") == 1


def test_a_port_in_use_is_one_sentence_and_exit_2(start: Start) -> None:
    port = start().port
    result = run("--port", str(port))
    assert result.returncode == 2
    assert result.stderr == (f"{PROGRAM}cannot listen on 127.0.0.1:{port}: {os.strerror(98)}; choose another --port.\n")


def test_a_start_that_fails_leaves_an_older_truth_log_alone(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "older.csv"
    log.write_text("kept")
    assert run("--port", str(start().port), "--truth-log", str(log)).returncode == 2
    assert log.read_text() == "kept"


def test_the_api_key_appears_nowhere(start: Start, chat: Chat) -> None:
    simulator = start("--api-key-env", "TEST_KEY", env=os.environ | {"TEST_KEY": "s3cret"})
    client = simulator.client()
    client.generation(chat(stream=False), authorization="Bearer s3cret")
    client.page()
    rows = json.dumps(simulator.rows(1))
    pages = simulator.get("/metrics")[1] + simulator.get("/v1/models")[1]
    simulator.stop()
    told = "".join(simulator.process.communicate()) + simulator.greeting + rows + pages.decode()
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--dialect", "gpt"], "unknown dialect 'gpt': expected one of openai, vllm, vllm-0.4.2, "),
        (["--error-every", "0"], "--error-every must be from 1 to 1e+09, got 0.\n"),
        (["--fail-after", "0"], "--fail-after must be from 1 to 1e+09, got 0.\n"),
        (["--keep-alive-s", "0"], "--keep-alive-s must be from 0.001 to 1e+09, got 0.\n"),
        (["--overload", "500"], "argument --overload: invalid choice: '500' "),
        (
            ["--dialect", "bentoml", "--comments"],
            "the bentoml dialect has no server-sent events: leave out ",
        ),
        (
            ["--dialect", "mlc", "--stream-error-after", "3"],
            "the mlc dialect has no error event: leave out ",
        ),
        (["--dialect", "trtllm", "--overload", "in-stream"], "the trtllm dialect has no error event: "),
        (["--dialect", "tgi", "--role-early-ms", "3"], "the tgi dialect has no event for the role: "),
        (
            ["--dialect", "triton", "--reasoning-tokens", "3"],
            "the triton dialect has no field for reasoning",
        ),
        (["--dialect", "bentoml", "--usage", "never"], "the bentoml dialect has no usage on request: "),
        (
            ["--dialect", "tgi", "--enable-debug"],
            "the tgi dialect has no debug mode: leave out --enable-debug, or choose ",
        ),
    ],
)
def test_a_switch_that_would_do_nothing_is_one_sentence_and_exit_2(options: list[str], complaint: str) -> None:
    result = run("--port", "0", *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(PROGRAM + complaint) and result.stderr.count("\n") == 1


def test_the_document_names_every_option_that_is_a_fault_or_an_oddity() -> None:
    document = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    flags = re.findall(r"^  (--[a-z-]+)", run("--help").stdout.partition("faults and oddities:")[2], re.MULTILINE)
    assert {"--break-after", "--crlf", "--overload"} <= set(flags)
    assert [flag for flag in flags if f"`{flag}" not in document] == []
