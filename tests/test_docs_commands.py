"""Every command in README and the documents is one that its program reads: options, values, modules and targets."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.option_parser import parser_of_all_options
from tokenswarm import _COMMANDS
from tokenswarm.client import custom_headers
from tokenswarm.command_line import read_options
from tokenswarm.command_line.command_parser import CommandParser
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.run_control.start_checks import complete_options

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("tokenswarm", "locust", "make", "python")
#: What stands for more words in an example.
LEFT_OUT = frozenset(("…", "..."))
#: Own switches of `tokenswarm run`, which Locust's parser does not know.
SWITCHES = frozenset(("--dry-run", "--json", "--quiet", "--help"))
_SIMULATE = """
import json, sys
from tokenswarm.command_line.command_parser import CommandParser
from tokenswarm.simulator.cli import DIALECTS, PROFILES, add_arguments
found = []
for words in json.load(sys.stdin):
    parser = CommandParser(prog="tokenswarm simulate")
    add_arguments(parser)
    args, unknown = parser.parse_known_args(words)
    names = {args.profile} - {*PROFILES} | {args.dialect} - {*DIALECTS, None}
    found.append([*parser.errors, *unknown, *sorted(names)])
json.dump(found, sys.stdout)
"""
SHELLS = frozenset(("", "sh", "bash"))


class Command(NamedTuple):
    """A command in a document. whole: of a block, not of a sentence, where words in capitals stand for values."""

    page: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def commands_of(page: Path) -> Iterator[Command]:
    """Those of its blocks, then those in its sentences."""
    name = str(page.relative_to(ROOT))
    text = page.read_text(encoding="utf-8")
    for block in blocks_of(text):
        for words in commands_in(block):
            yield Command(name, words, whole=True)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = "\n".join("" if line.startswith("    ") else line for line in prose.splitlines())
    for span in re.findall(r"`([^`]+)`", prose):
        for words in commands_in(" ".join(span.split())):
            yield Command(name, words, whole=False)


def blocks_of(text: str) -> Iterator[str]:
    """Fenced blocks of a shell, and lines that are indented by four spaces or more."""
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        if language in SHELLS:
            yield block
    rest = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.findall(r"(?:^ {4,}\S.*\n?)+", rest, re.MULTILINE):
        yield block


def commands_in(block: str) -> Iterator[tuple[str, ...]]:
    """The words of each command of a shell's text that is one of ours."""
    lines = block.replace("\\\n", " ").splitlines()
    for variable, first in re.findall(r"for (\w+) in ([\w./-]+)", block):
        lines = [re.sub(rf"\${variable}\b", first, line) for line in lines]
    for line in lines:
        try:
            words = list(split(line))
        except ValueError:  # a quotation mark of a sentence or a table
            continue
        command: list[str] = []
        for word in [*words, ";"]:
            if not re.fullmatch(r"[;&|()]+", word):
                command.append(word)
                continue
            while command and (command[0] in ("do", "then", "chrt", "-r", "10") or re.match(r"\w+=", command[0])):
                del command[0]
            if command and Path(command[0]).name in PROGRAMS:
                yield Path(command[0]).name, *command[1:]
            command = []


def split(line: str) -> Iterator[str]:
    """The words of a line of shell, operators apart."""
    read = shlex.shlex(line.replace("$(", "$\\("), posix=True, punctuation_chars=";&|()")
    read.whitespace_split = True
    read.commenters = "#"
    yield from read


COMMANDS = {str(page.relative_to(ROOT)): list(dict.fromkeys(commands_of(page))) for page in PAGES}


def test_commands_are_found_on_most_pages() -> None:
    blocks = {page for page, commands in COMMANDS.items() if any(command.whole for command in commands)}
    how_to = {page for page in COMMANDS if page.startswith("docs/how-to/")}
    assert {"README.md", "docs/quick-start.md", "docs/traces.md", "docs/conditions.md", *how_to} <= blocks
    assert sum(command.whole for commands in COMMANDS.values() for command in commands) > 70


@pytest.mark.parametrize("page", [page for page, commands in COMMANDS.items() if commands])
def test_the_commands_of_a_document_are_read_by_their_programs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_headers, "_given", {})
    for variable in re.findall(r"\$([A-Z_]+)", " ".join(word for command in COMMANDS[page] for word in command.words)):
        monkeypatch.setenv(variable, "a value")
    wrong = {" ".join(command.words): errors for command in COMMANDS[page] if (errors := errors_of(command))}
    assert wrong == {}


def test_a_wrong_option_value_target_and_module_are_found(tmp_path: Path) -> None:
    text = (
        "    tokenswarm run --leveles 10\n    locust --ramp soon\n    tokenswarm report A --slow\n    make nothing\n"
        "    tokenswarm simulate --dialect vllm9\n    python -m benchmarks.nothing\n\n`tokenswarm gate A B --fail-iff`"
    )
    (tmp_path / "page.md").write_text(text)
    commands = [Command("", words, whole=True) for block in blocks_of(text) for words in commands_in(block)]
    found = [
        errors_of(command) for command in [*commands, Command("", ("tokenswarm", "gate", "--fail-iff"), whole=False)]
    ]
    assert len(found) == 7
    assert all(found)


def errors_of(command: Command) -> list[str]:
    program, *words = command.words
    after_f = {place + 1 for place, word in enumerate(words) if word == "-f"}  # a locustfile, which is not read here
    words = [
        word
        for place, word in enumerate(words)
        if place not in after_f and word not in LEFT_OUT and not word.startswith("-f")
    ]
    if program == "make":
        return unknown_targets(words)
    if program == "python":
        return unknown_modules(words)
    return errors_of_run(words, command.whole) if program == "locust" else errors_of_tokenswarm(words, command.whole)


def unknown_targets(words: list[str]) -> list[str]:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return [word for word in words if "=" not in word and word not in targets]


def unknown_modules(words: list[str]) -> list[str]:
    if words[:1] != ["-m"]:
        return [word for word in words[:1] if not (ROOT / word).is_file()]
    path = ROOT / words[1].replace(".", "/")
    ours = words[1].partition(".")[0] in ("benchmarks", "tests")
    return [words[1]] if ours and not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()) else []


def errors_of_tokenswarm(words: list[str], whole: bool) -> list[str]:
    if not words or words[0].startswith("-") or words[0] == "COMMAND":
        return []
    name, *words = [word for word in words if word != "--help"]
    if name not in _COMMANDS:
        return [f"unknown command {name}"]
    if name == "simulate":
        return errors_of_simulate(tuple(words)) if whole else []
    module = import_module(_COMMANDS[name][0])
    if hasattr(module, "run") and not hasattr(module, "parser_of"):  # it takes the options of a run
        return errors_of_run([word for word in words if word not in SWITCHES and word != "OPTIONS"], whole)
    if hasattr(module, "parser_of"):
        parser, own = module.parser_of([word for word in words if word != "OPTIONS"])
        if "--" in words:  # behind it: options of a run
            of_the_run = errors_of_run(words[words.index("--") + 1 :], whole)
            return [*of_the_run, *errors_of_own(name, parser, own, whole)]
        words = own
    else:
        parser = CommandParser(prog=f"tokenswarm {name}")
        module.add_arguments(parser)
    return errors_of_own(name, parser, words, whole)


def errors_of_own(name: str, parser: CommandParser, words: list[str], whole: bool) -> list[str]:
    if not whole and name != "sweep":
        return unknown_flags(parser, words)
    _, unknown = parser.parse_known_args(words)
    if name == "sweep":  # the rest are options of its runs
        unknown = errors_of_run(unknown, whole)
    return [*parser.errors, *unknown]


def errors_of_simulate(words: tuple[str, ...]) -> list[str]:
    known = simulate_errors()
    return known[words] if words in known else simulate_process([words])[words]


@cache
def simulate_errors() -> dict[tuple[str, ...], list[str]]:
    commands = (command for commands in COMMANDS.values() for command in commands if command.whole)
    return simulate_process(
        [command.words[2:] for command in commands if command.words[:2] == ("tokenswarm", "simulate")]
    )


def simulate_process(commands: list[tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    """What is wrong with each, by a process of its own: the simulator cannot be imported where gevent has replaced the
    standard library."""
    done = subprocess.run(
        [sys.executable, "-c", _SIMULATE],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return dict(zip(commands, json.loads(done.stdout), strict=True))


@cache
def run_parser() -> ArgumentParser:
    return parser_of_all_options()


def errors_of_run(words: list[str], whole: bool) -> list[str]:
    if not whole:
        return unknown_flags(run_parser(), words)
    given = read_options(run_parser(), words)
    try:
        complete_options(given)
        if not given.options.trace:  # its file would be read
            RunPlan.of(given.options)
    except ValueError as error:
        return [*given.errors, str(error)]
    return list(given.errors)


def unknown_flags(parser: ArgumentParser, words: list[str]) -> list[str]:
    flags = {flag for action in parser._actions for flag in action.option_strings}
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in flags]
