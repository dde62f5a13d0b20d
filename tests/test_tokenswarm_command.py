"""The `tokenswarm` command's own part: arguments that no subcommand has."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import urlopen

import pytest

import tokenswarm
from tests.forked_process import close
from tests.test_architecture import PACKAGES
from tokenswarm.command_line import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ROOT / "tokenswarm.py"


def test_ctrl_c_ends_a_command_with_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenswarm, "_main", interrupted)
    assert tokenswarm.main(["report", "FOLDER"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_while_a_command_is_loaded_ends_it_with_the_same_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "tokenswarm.sanitize", Interrupted("tokenswarm.sanitize"))
    assert tokenswarm.main(["report", "FOLDER"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("buffering", [[], ["-u"]], ids=["at the end", "at once"])
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], *([name, "--help"] for name in ("simulate", "gate"))])
def test_an_output_that_is_lost_is_no_success(arguments: list[str], buffering: list[str]) -> None:
    command = [sys.executable, *buffering, str(COMMAND), *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2
    lost = "the output could not be written (No space left on device); files are not affected"
    assert done.stderr == f"tokenswarm: {lost}\n"


@pytest.mark.parametrize(
    "arguments", [["--version"], ["simulate", "--help"], ["workload", "--levels", "2"], ["runs", "."]]
)
def test_a_standard_output_that_was_closed_is_no_success(arguments: list[str], tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, str(COMMAND), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    lost = "the output could not be written (the standard output is closed); files are not affected"
    assert (done.returncode, done.stderr) == (2, f"tokenswarm: {lost}\n")


@pytest.mark.parametrize(
    "arguments", [["runs", "lsit"], ["run", "--dry-run", "-f", "own.py"], ["run", "--levels", "x"]]
)
def test_messages_for_a_standard_error_that_was_closed_go_nowhere(arguments: list[str], tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, str(COMMAND), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_a_command_leaves_unwritten_is_lost_too() -> None:
    script = "import sys, tokenswarm; tokenswarm._main = lambda _: print('x') or 0; sys.exit(tokenswarm.main([]))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["compare", "gate", "recover", "report", "trend", "upload"])
def test_a_command_without_arguments_says_in_sentences_what_is_missing(name: str, capsys: Any) -> None:
    try:
        exit_code: Any = tokenswarm.main([name])
    except SystemExit as ended:
        exit_code = ended.code
    written = capsys.readouterr().err
    assert exit_code == 2
    assert f"tokenswarm {name}: " in written
    assert "Traceback" not in written


@pytest.mark.parametrize(
    ("arguments", "prog", "about"),
    [
        (["report", "FOLDER", "--bogus"], "tokenswarm report", "--bogus"),
        (["report", "FOLDER", "another"], "tokenswarm report", "'another'"),
        (["gate", "A", "B", "--fail-if", "rate < -5%", "--junit-xml=x"], "tokenswarm gate", "--junit"),
        (["simulate", "--prefill", "3"], "tokenswarm simulate", "--prefill-ms"),
        (["nothing"], "tokenswarm", "nothing"),
        (["-H", "http://127.0.0.1:1", "--levels", "2"], "tokenswarm", "tokenswarm run -H …"),
        (["--levels=2", "run"], "tokenswarm", "tokenswarm run --levels …"),
        (["--json", "runs", "results"], "tokenswarm", "tokenswarm runs --json …"),
    ],
)
def test_an_unknown_argument_is_refused_with_the_nearest_and_the_help_of_its_own_command(
    arguments: list[str], prog: str, about: str
) -> None:
    done = subprocess.run([sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{prog}: ")
    assert done.stderr.endswith(f" See {prog} --help.\n")
    assert about in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["gate", "--pass-if"], ["--pass-if takes CONDITIONS, got nothing", "got 0", "--fail-if is missing"]),
        (["gate", "A", "B", "--pass-if", "ttft_p95 <= 5"], ["gate takes no --pass-if"]),
        (["gate", "A", "--fail-if", "rate <", "--bogus"], ["--bogus", "got 1", "a change in percent"]),
        (["report", "--pass-if", "rate", "--slo"], ["RESULTS is missing", "--slo takes", "--pass-if: "]),
        (["report", "X", "--pass-if", "rate", "--fail-if", "nothing < 5"], ["--fail-if: ", "--pass-if: "]),
        (["report", "X", "--to", "otlp"], ["--to takes FORMAT and PLACE, got 1 of them"]),
        (["probe", "--max-tokens"], ["--host is missing", "--max-tokens takes"]),
        (["simulate", "--port", "many", "--prefill-ms"], ["--port takes", "--prefill-ms takes"]),
    ],
    ids=" ".join,
)
def test_all_that_is_wrong_is_said_at_once(arguments: list[str], named: list[str]) -> None:
    done = subprocess.run([sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    sentences = [line for line in done.stderr.splitlines() if line.startswith(f"tokenswarm {arguments[0]}: ")]
    assert len(sentences) == len(named)
    assert all(any(words in line for line in sentences) for words in named), done.stderr


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["repotr"], "report"),
        (["simulate", "--profile", "vlm"], "vllm-llama3-8b or vllm-llama3-70b"),
        (["simulate", "--dialect", "VLLM"], "vllm"),
        (["report", "FOLDER", "--as", "vlm"], "vllm"),
        (["probe", "-H", "http://127.0.0.1:1", "--engine", "Ollma"], "ollama"),
        (["probe", "-H", "http://127.0.0.1:1", "--engine", "TensorRT-LLM"], "trtllm"),
        (["simulate", "--dialect", "tensorrt"], "trtllm"),
        (["simulate", "--prfile", "fast"], "--profile"),
        (["simulate", "--api-key", "KEY"], "--api-key-env"),
        (["probe", "-H", "http://127.0.0.1:1", "--modle", "x"], "--model"),
    ],
    ids=" ".join,
)
def test_a_misspelled_word_is_answered_with_the_nearest_known_one(arguments: list[str], nearest: str) -> None:
    done = subprocess.run([sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"; did you mean {nearest}?" in done.stderr
    assert "?;" not in done.stderr and "?." not in done.stderr


@pytest.mark.parametrize("arguments", [["report", "nofolder"], ["report"], ["simulate", "--step-ms", "0"]])
def test_the_exit_code_stays_where_the_standard_error_cannot_be_written(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, str(COMMAND), *arguments], stderr=full, timeout=60, check=False)
    assert done.returncode == 2


def test_a_full_standard_error_leaves_locusts_refusal_its_exit_code() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--levles", "3"]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stderr=full, timeout=60, check=False).returncode == 2


@pytest.mark.parametrize("kind", ["a closed pipe", "a full disk", "none"])
def test_the_simulator_serves_where_its_address_cannot_be_printed(kind: str) -> None:
    port = free_port("127.0.0.1")
    if kind == "a closed pipe":
        reader, output = os.pipe()
        close(reader)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"] if kind == "none" else []
    command = [*shell, sys.executable, str(COMMAND), "simulate", "--port", str(port)]
    with subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as process:
        os.close(output)
        assert process.stderr is not None
        line = process.stderr.readline()
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as response:
            assert response.status == 200
        process.terminate()
        assert (process.wait(20), process.stderr.read()) == (0, "")
    assert line.startswith("tokenswarm simulate: ") and f"http://127.0.0.1:{port}" in line


def test_every_package_refuses_to_be_imported_by_its_bare_name() -> None:
    packages = sorted(file.parent.name for file in ROOT.glob("*/__init__.py") if file.parent.name in PACKAGES)
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except ImportError as error:\n        print(f'{name}: {type(error).__name__}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *packages], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [f"{name}: NotInApi" for name in packages]


def test_what_is_not_for_locustfiles_cannot_be_imported_from_the_package_and_a_package_can() -> None:
    with pytest.raises(ImportError, match=r"OpenLoop cannot be imported.*StreamingUser") as caught:
        exec("from tokenswarm import OpenLoop")
    assert str(caught.value).count("\n") == 0
    from tokenswarm import shapes

    assert shapes.__name__ == "tokenswarm.shapes"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("from tokenswarm import OpenLoop", "OpenLoop"),
        ("from tokenswarm.users import ChatUser", "ChatUser"),
        ("import tokenswarm.users.nothing", "tokenswarm.users.nothing"),
        ("import tokenswarm, users", "users"),
        ("from users.chat import ChatUser", "users"),
        ("import simulator", "simulator"),
    ],
)
def test_an_import_of_ones_own_that_cannot_be_is_one_sentence(statement: str, named: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert named in done.stderr
    assert "StreamingUser" in done.stderr  # which can be imported


@pytest.mark.parametrize("statement", ["from tokenswarm import OpenLoop", "import simulator", "import tokenswarm.no"])
def test_an_import_that_cannot_be_names_the_file_and_the_line(statement: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(f"# of a locustfile\n{statement}\n")
    (own := tmp_path / "own.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n\nimport helper\n")
    done = subprocess.run([sys.executable, own], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"tokenswarm: {tmp_path / 'helper.py'}, line 2: ")


def test_importing_the_package_loads_neither_locust_nor_its_users() -> None:
    code = (
        "import sys, tokenswarm; from tokenswarm import Outcome, Timeline; "
        "print(*[name for name in ('locust', 'gevent', 'tokenswarm.run_control') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_other_failures_keep_their_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import tokenswarm, no_such_module"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_users_package_of_ones_own_is_not_taken_for_tokenswarms(tmp_path: Path) -> None:
    """In the layout of a wheel, from another working directory."""
    site, own = tmp_path / "site", tmp_path / "own"
    (site / "tokenswarm").mkdir(parents=True)
    for name in PACKAGES:
        (site / "tokenswarm" / name).symlink_to(ROOT / name)
    (site / "tokenswarm" / "__init__.py").symlink_to(COMMAND)
    for name in ("users", "metrics"):
        (own / name).mkdir(parents=True)
        (own / name / "__init__.py").write_text("OWN = True\n")
    script = "import users, metrics, tokenswarm.users.chat as chat; print(users.OWN, metrics.OWN, chat.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=own,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True True tokenswarm.users.chat\n", 0), done.stderr


@pytest.mark.parametrize(("option", "begin"), [("--help", "usage: tokenswarm [-h]"), ("--version", "tokenswarm ")])
@pytest.mark.parametrize("command", ["run", "web", "report"])
def test_an_option_of_the_command_itself_starts_nothing(
    option: str, begin: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tokenswarm.run_command.run_command.execute_uninterrupted", lambda *_: pytest.fail("it runs"))
    with pytest.raises(SystemExit) as ended:
        tokenswarm.main([option, command])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(begin)


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tokenswarm.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"tokenswarm {version('tokenswarm')}\n")
