"""Interrupts are counted, and signals that come together are one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import gevent
import pytest

from tokenswarm.command_line import exit_codes
from tokenswarm.run_control.interrupts import TOGETHER_S, Interrupts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def acted() -> list[int]:
    return []


@pytest.fixture
def now_s() -> list[float]:
    return [100.0]


@pytest.fixture
def interrupts(acted: list[int], now_s: list[float]) -> Interrupts:
    return Interrupts(acted.append, lambda: now_s[0])


def test_signals_to_a_process_and_its_group_are_one_interrupt(
    interrupts: Interrupts, acted: list[int], now_s: list[float]
) -> None:
    for after_s in (0.0, 0.1, TOGETHER_S - 0.1):  # each is close to the one before
        now_s[0] += after_s
        interrupts.arrive()
    gevent.sleep(0)
    assert acted == [1]
    for _ in range(2):
        now_s[0] += TOGETHER_S
        interrupts.arrive()
    gevent.sleep(0)
    assert acted == [1, 2, 3]


def test_nothing_is_done_where_the_signal_meets_the_process(interrupts: Interrupts, acted: list[int]) -> None:
    interrupts.arrive()
    assert acted == []
    gevent.sleep(0)
    assert acted == [1]


def test_the_next_interrupt_can_be_for_something_else(
    interrupts: Interrupts, acted: list[int], now_s: list[float]
) -> None:
    ended: list[bool] = []
    interrupts.on_next = lambda: ended.append(True)
    interrupts.arrive()
    gevent.sleep(0)
    assert (acted, ended, interrupts.count) == ([], [True], 0)


def test_an_early_interrupt_ends_as_every_other() -> None:
    """It has the code and the sentence as literals: their package takes too long to import before the handlers."""
    namespace: dict[str, object] = {}
    source = (ROOT / "run_control" / "early_interrupt.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            namespace |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    assert namespace["EXIT_INTERRUPTED"] == exit_codes.EXIT_INTERRUPTED
    assert namespace["INTERRUPTED_EARLY"] == exit_codes.INTERRUPTED_EARLY


def test_nothing_is_imported_before_the_handlers_of_an_early_interrupt() -> None:
    """What they import of ours would be imported before them, with all that its package imports."""
    first = ast.parse((ROOT / "locustfile.py").read_text(encoding="utf-8")).body[1]
    assert isinstance(first, ast.Import)
    assert [alias.name for alias in first.names] == ["tokenswarm.run_control.early_interrupt"]
    source = (ROOT / "run_control" / "early_interrupt.py").read_text(encoding="utf-8")
    assert "tokenswarm" not in {
        (node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
    }


#: A library has run a program, and the interrupt comes where exceptions are printed and dropped.
IN_A_CALLBACK = """
import os, signal, weakref
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background has it ignored
import tokenswarm.run_control.early_interrupt
class Module: pass
if not (program := os.fork()):
    os._exit(0)
os.waitpid(program, 0)
module = Module()
kept = weakref.ref(module, lambda _: os.kill(os.getpid(), signal.SIGINT))
del module
print("it goes on")
"""


def test_an_early_interrupt_ends_the_process_wherever_it_comes() -> None:
    ended = subprocess.run([sys.executable, "-c", IN_A_CALLBACK], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (4, "", f"{exit_codes.INTERRUPTED_EARLY}\n")


ENDS = """
import os, signal, tokenswarm.run_control.early_interrupt
class Last:
    def __del__(self, end=os.kill, process=os.getpid(), number=signal.SIGINT): end(process, number)
last = Last()
"""


def test_an_interrupt_while_python_ends_the_process_leaves_its_exit_code() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
