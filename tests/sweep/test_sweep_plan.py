"""Which cells a sweep has, in which order, and what its options become."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from tests.option_parser import parser_of_all_options
from tokenswarm.command_line.option_adder import Repeated
from tokenswarm.sweep.sweep_file import read_sweep
from tokenswarm.sweep.sweep_plan import REPEATED, Axis, SweepCell, SweepPlan, order_of, parse_vary

TOML = """
name = "lengths"
repeat = 3

[options]
host = "http://gpu:8000"
level_time = "2m"
max-tokens = 256
ignore-eos = true
header = ["A: $A", "B: $B"]

[matrix]
input-tokens = [128, "1024"]
levels = [[10, 50], 100]

[[exclude]]
input-tokens = 1024
levels = 100

[[include]]
input-tokens = 4096
levels = 10
system-prompt = "on"
"""


def test_a_file_says_what_all_cells_share_and_which_there_are(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(TOML)
    plan = read_sweep(file)
    assert (plan.name, plan.repeat) == ("lengths", 3)
    assert [cell.texts for cell in plan.cells()] == [
        {"input-tokens": "128", "levels": "10,50"},
        {"input-tokens": "128", "levels": "100"},
        {"input-tokens": "1024", "levels": "10,50"},
        {"input-tokens": "4096", "levels": "10", "system-prompt": "on"},
    ]
    assert plan.cell_words(plan.cells()[0]) == [
        *("--host=http://gpu:8000", "--level-time=2m", "--max-tokens=256", "--ignore-eos"),
        *("--header=A: $A", "--header=B: $B", "--input-tokens=128", "--levels=10,50"),
        *("--tag=input-tokens=128", "--tag=levels=10,50", "--name=input-tokens 128, levels 10,50"),
    ]


def test_json_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"matrix": {"levels": [1, 2]}, "options": {"body": {"a": null}}}')
    plan = read_sweep(tmp_path / "sweep.json")
    assert plan.axes == (Axis("levels", ("1", "2")),)
    assert plan.fixed == {"body": '{"a":null}'}


def test_cells_come_in_turn_and_the_last_option_changes_fastest() -> None:
    plan = SweepPlan(axes=(parse_vary("levels=10,50"), parse_vary("--input-tokens=ln(512,p95=4096);128")), repeat=2)
    cells = plan.cells()
    assert [list(cell.texts.values()) for cell in cells] == [
        ["10", "ln(512,p95=4096)"],
        ["10", "128"],
        ["50", "ln(512,p95=4096)"],
        ["50", "128"],
    ]
    assert list(order_of(cells, 2)) == [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (3, 2), (4, 2)]


def test_a_switch_is_given_or_not() -> None:
    on, off = SweepPlan(axes=(parse_vary("ignore-eos=true,false"),)).cells()
    assert on.words == ["--ignore-eos", "--tag=ignore-eos=on"]
    assert off.words == ["--tag=ignore-eos=off"]


def test_without_anything_that_varies_there_is_one_cell() -> None:
    plan = SweepPlan(words=("-u", "3"), repeat=3)
    (cell,) = plan.cells()
    assert (cell.name, plan.cell_words(cell)) == ("", ["-u", "3"])


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (SweepPlan(axes=(Axis("host", ("a", "b")),), words=("-H", "c")), "--host is to vary, and has a value"),
        (SweepPlan(axes=(Axis("levels", ("1",)), Axis("levels", ("2",)))), "--levels is to vary twice"),
        (SweepPlan(words=("--junit=x",), repeat=2), "--junit is not for a sweep"),
        (SweepPlan(axes=(Axis("results", ("a", "b")),)), "--results is not for a sweep"),
        (SweepPlan(repeat=0), "--repeat takes a number"),
        (SweepPlan(words=("-u", "3")), "nothing is to vary: give --vary"),
        (SweepPlan(axes=tuple(Axis(name, tuple(map(str, range(101)))) for name in ("a", "b"))), "has 10,201 cells"),
        (SweepPlan(axes=(Axis("a", ("1",)),), exclude=({"b": "1"},)), "exclude names b"),
        (SweepPlan(axes=(Axis("a", ("1",)),), exclude=({"a": "2"},)), "matches no cell"),
        (SweepPlan(axes=(Axis("a", ("1",)),), exclude=({"a": "1"},)), "no cell is left"),
        (SweepPlan(axes=(Axis("a", ("1",)),), include=({"a": "1"},)), "is a cell of the matrix already"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_swept_is_one_sentence(plan: SweepPlan, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as error:
        plan.cells()
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("text", ["levels", "levels=", "levels=1,,2", "=1", "levels=1,1", "Levels=1,2"])
def test_values_that_cannot_be_told_apart_or_are_missing(text: str) -> None:
    with pytest.raises(ValueError, match=r"--vary takes OPTION=VALUE|twice"):
        parse_vary(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[matrix", "is not TOML"),
        ("matrices = 1", "unknown key 'matrices'; did you mean matrix"),
        ("repeat = 'x'", "repeat takes a whole number"),
        ("[matrix]\nlevels = 10", "takes a list of values"),
        ("[options]\nlevels = {a = [[1]]}\nseed = 2020-01-01", "takes a text, a number"),
        ("include = 3", "takes a list of tables"),
    ],
)
def test_a_file_that_is_wrong_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(ValueError, match=expected) as error:
        read_sweep(tmp_path / "sweep.toml")
    assert "sweep.toml" in str(error.value)


def test_the_options_that_may_be_given_several_times_are_those_of_the_parser() -> None:
    parser: ArgumentParser = parser_of_all_options()
    several = {action.option_strings[0][2:] for action in parser._actions if isinstance(action, Repeated)}
    assert several == REPEATED


def test_a_cell_without_values_has_no_name() -> None:
    assert (SweepCell({}).name, SweepCell({}).words) == ("", [])
