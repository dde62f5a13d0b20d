"""`tokenswarm run` and `tokenswarm web`: what they hand to Locust, and what their help shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from argparse import Action
from collections.abc import Callable
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser

from tests.forked_process import run_command, start_program
from tokenswarm.command_line.exit_codes import INTERRUPTED_EARLY
from tokenswarm.run_command.grouped_help import grouped_help
from tokenswarm.run_command.option_groups import GROUPS, PAGE, OptionGroup
from tokenswarm.run_command.run_command import run, serve
from tokenswarm.run_control.run_parser import add_run_options

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--levels", "2", "--ramp", "0s", "--level-time", "2s", "--settle", "0s", "--system-prompt", "off")


def handed_over(words: list[str], web: bool = False) -> list[str]:
    """What Locust is given behind its locustfile."""
    commands: list[list[str]] = []
    (serve if web else run)(words, lambda _, command: commands.append(command))
    (command,) = commands
    locustfile = command.index("-f") + 1
    assert (command[0], Path(command[locustfile])) == (sys.executable, ROOT / "locustfile.py")
    return command[locustfile + 1 :]


def test_a_run_is_headless_and_takes_all_options() -> None:
    assert handed_over(["-H", "http://gpu:8000", "-u", "3"]) == ["--headless", "-H", "http://gpu:8000", "-u", "3"]
    assert handed_over(["--quiet", "--json"]) == ["--headless", "--loglevel", "WARNING", "--print-summary"]


def test_the_page_is_served_with_the_same_options() -> None:
    assert handed_over(["--levels", "5"], web=True) == ["--levels", "5"]


def own_options() -> list[Action]:
    """Tokenswarm's, without Locust's."""
    parser = get_empty_argument_parser(default_config_files=[])
    before = set(parser._actions)
    add_run_options(parser)
    return [action for action in parser._actions if action not in before]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_name_is_broken_at_the_end_of_a_line_of_the_help(width: int) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    add_run_options(parser)
    group = OptionGroup("All", tuple(action.option_strings[0] for action in own_options()))
    lines = grouped_help(parser, "", [group], "", width).splitlines()
    assert [line for line in lines if re.search(r"(--|docs/)\S*-$", line)] == []


def test_each_option_is_in_one_group_of_the_help() -> None:
    own = {action.option_strings[0] for action in own_options()}
    grouped = [flag for group in (*GROUPS, PAGE) for flag in group.flags]
    assert len(grouped) == len(set(grouped))
    assert own <= set(grouped)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "web"])
def test_the_help_shows_every_option(command: str) -> None:
    ended = run_command(command, "--help")
    words = set(ended.stdout.replace(",", " ").split())
    assert ended.returncode == 0
    assert {flag for action in own_options() for flag in action.option_strings} <= words
    assert {flag for group in (*GROUPS, PAGE) for flag in group.flags} <= words
    titles = [line[:-1] for line in ended.stdout.splitlines() if line[:1].isalpha() and line.endswith(":")]
    groups = (*GROUPS, PAGE) if command == "run" else (PAGE, *GROUPS)
    assert titles == [group.title for group in groups]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--quiet=1"], "--quiet takes no value, got '1'."),
        (["--json=yes", "-u", "3"], "--json takes no value, got 'yes'."),
        (["--dry-run="], "--dry-run takes no value, got ''."),
        (["--quiet", "True"], "--quiet takes no value, got 'True'."),
        (["--dry-run", "--locustfile=mine.py"], "--dry-run describes what options say, and not the code"),
        (["-fmine.py", "--dry-run"], "--dry-run describes what options say, and not the code"),
    ],
)
def test_what_a_run_does_not_take_is_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, lambda *_: pytest.fail("it was started")) == 2
    assert capsys.readouterr().err.startswith(f"tokenswarm run: {sentence}")


@pytest.mark.parametrize("words", [["-f", "mine.py"], ["-fmine.py"], ["--locustfile=mine.py"]])
@pytest.mark.parametrize("command", [run, serve])
def test_a_locustfile_of_ones_own_takes_the_place_of_ours(words: list[str], command: Callable[..., int]) -> None:
    commands: list[list[str]] = []
    command([*words, "-u", "3"], lambda _, started: commands.append(started))
    (found,) = commands
    given = found[found.index(str(ROOT / "run_command" / "locust_process.py")) + 1 :]
    assert [word for word in given if word != "--headless"] == [*words, "-u", "3"]


STRAY_WORDS = pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("http://gpu:8000", "unexpected argument 'http://gpu:8000'; did you mean -H http://gpu:8000?"),
        ("--levels 3 gpu:8000", "unexpected argument 'gpu:8000'; did you mean -H gpu:8000?"),
        (
            "-H http://a:1 b localhost:1/v1",
            "unexpected arguments 'b', 'localhost:1/v1'; did you mean -H localhost:1/v1?",
        ),
        ("--ignore-eos foo --seed 3", "unexpected argument 'foo': give options and their values alone."),
    ],
)


@STRAY_WORDS
def test_a_word_of_no_option_is_refused(words: str, sentence: str, tmp_path: Path) -> None:
    """By Locust, given what this command hands over."""
    given = ["-f", str(ROOT / "locustfile.py"), *handed_over(words.split())]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    locust = start_program("locust", given, cwd=tmp_path, **pipes)
    output, errors = locust.communicate(timeout=120)
    assert (locust.returncode, output, errors) == (2, "", f"tokenswarm: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@STRAY_WORDS
def test_a_dry_run_refuses_a_word_of_no_option(words: str, sentence: str, tmp_path: Path) -> None:
    ended = run_command("run", *words.split(), "--dry-run", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"tokenswarm run: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_wrong_option_leaves_no_folder_behind(tmp_path: Path) -> None:
    words = ("--results", "new/results", "--spool-folder", "spools", "--levels", "0", "gpu:8000")
    ended = run_command("run", *words, cwd=tmp_path)
    assert (ended.returncode, list(tmp_path.iterdir())) == (2, []), ended.stderr
    assert "did you mean -H gpu:8000?" in ended.stderr
    assert "--levels" in ended.stderr


@pytest.mark.parametrize("command", ["run", "web"])
def test_what_cannot_be_opened_is_refused_before_anything_else_is_said(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ("-H", "http://127.0.0.1:9", "--metrics-host", "no such", "--logfile", "file/x")
    ended = run_command(command, *words, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr.splitlines()) == (
        2,
        "",
        [
            "tokenswarm: --logfile file/x cannot be written (Not a directory); name another file.",
            "tokenswarm: --metrics-host no such is no address on which this machine can serve its metrics (Name or "
            "service not known): give one of its own, or leave the option out.",
        ],
    )


def test_a_dry_run_describes_and_sends_nothing(tmp_path: Path) -> None:
    ended = run_command("run", "--dry-run", "--json", *OPTIONS, "--requests", "40", cwd=tmp_path)
    described = json.loads(ended.stdout)
    assert (ended.returncode, [level["requests"] for level in described["levels"]]) == (0, [40])
    assert list(tmp_path.iterdir()) == []


#: Interrupts itself just before Locust takes the process over, and is imported.
_INTERRUPTED = """
import os, signal, sys
from tokenswarm.run_command.run_command import run
take_over = os.execv
os.execv = lambda path, command: (os.kill(os.getpid(), signal.SIGINT), take_over(path, command))
run(["-t", "1s", *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["-f", str(ROOT / "examples" / "own_messages.py")]], ids=["ours", "an own file"])
def test_an_interrupt_while_locust_is_imported_ends_as_any_other_early_one(words: list[str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (4, f"{INTERRUPTED_EARLY}\n")
    assert not list(tmp_path.iterdir())


#: A locustfile of Locust alone, which says in its run whether Ctrl-C is what Locust expects.
_PLAIN = """
import signal
from locust import User, task
class Plain(User):
    @task
    def look(self):
        print("Ctrl-C:", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        self.environment.runner.quit()
"""


@pytest.mark.slow
def test_a_locustfile_without_tokenswarm_is_locusts_run_and_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(_PLAIN)
    interruptible = (
        "import signal, sys; signal.signal(2, signal.default_int_handler); from tokenswarm import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", interruptible, "run", "-f", "plain.py", "-u", "1", "-t", "20s"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert set(re.findall("Ctrl-C: .*", ended.stdout)) == {"Ctrl-C: True"}
    assert "imports nothing from tokenswarm: the run is Locust's alone" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "words", "named"),
    [
        (("'3'", "1"), (), ["Fast has '3'"]),
        (("0", "0"), (), ["Fast has 0", "Slow has 0"]),
        (("1", "1"), ("Fasst",), ["Fasst", "Fast, Slow"]),
    ],
    ids=["text", "all 0", "an unknown class"],
)
def test_classes_that_locust_cannot_run_are_one_sentence_without_tokenswarm_too(
    tmp_path: Path, weights: tuple[str, str], words: tuple[str, ...], named: list[str]
) -> None:
    classes = [
        f"class {name}(User):\n    weight = {each}\n" for name, each in zip(("Fast", "Slow"), weights, strict=True)
    ]
    (tmp_path / "plain.py").write_text("from locust import User\n" + "".join(classes))
    command = [sys.executable, "-P", "-m", "tokenswarm", "run", "-f", "plain.py", "-u", "1", "-t", "2s", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert all(each in ended.stderr.splitlines()[-1] for each in named)
    assert "Traceback" not in ended.stderr
