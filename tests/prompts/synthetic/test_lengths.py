"""Lengths: notations, distributions, draws by request number."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from math import sqrt
from pathlib import Path

import pytest

from tokenswarm.prompts import PromptError
from tokenswarm.prompts.synthetic.counter_random import uniform
from tokenswarm.prompts.synthetic.length_notation import LengthNotationError
from tokenswarm.prompts.synthetic.length_plan import LengthPlan, length_plan

DRAWS = 20_000
#: Of the Kolmogorov-Smirnov statistic at 1 %, times the root of the number of draws.
KS_AT_1_PERCENT = 1.628


def draws(plan: LengthPlan, seed: int = 1, count: int = DRAWS) -> list[int]:
    lengths = [plan.lengths(seed, number) for number in range(count)]
    return [drawn.input if drawn.input is not None else drawn.output or 0 for drawn in lengths]


@pytest.mark.slow
@pytest.mark.parametrize(
    "notation",
    [
        *("n(550,100)", "n(300,p95=900,min=50)", "u(100,2000)", "ln(512,p95=4096)", "ln(512,p99=4096,max=2000)"),
        *("N(480,240)/(300,150)", "U(50,100)/(200,250)", "pairs:128/64:25 512/128:50 1024/256:25"),
    ],
)
def test_draws_have_the_stated_distribution(notation: str) -> None:
    plan = length_plan(notation, "")
    drawn = sorted(draws(plan))
    assert plan.input is not None
    counts = Counter(drawn)
    below, distance = 0, 0.0
    for length in sorted(counts):
        distance = max(distance, abs(below / DRAWS - plan.input.share_at_most(length - 1)))
        below += counts[length]
        distance = max(distance, abs(below / DRAWS - plan.input.share_at_most(length)))
    assert distance < KS_AT_1_PERCENT / sqrt(DRAWS)
    assert plan.input.least <= drawn[0]
    assert plan.input.most is None or drawn[-1] <= plan.input.most


@pytest.mark.slow
def test_draws_of_a_histogram_have_its_weights(tmp_path: Path) -> None:
    file = tmp_path / "lengths.csv"
    file.write_text("tokens,weight\n# measured\n100,1\n200,3\n400 6\n")
    counts = Counter(draws(length_plan(f"hist:{file}", "")))
    assert set(counts) == {100, 200, 400}
    assert counts[400] / DRAWS == pytest.approx(0.6, abs=0.015)
    assert counts[200] / DRAWS == pytest.approx(0.3, abs=0.015)
    as_json = tmp_path / "lengths.json"
    as_json.write_text('{"100": 0.1, "200": 0.3, "400": 0.6}')
    assert draws(length_plan(f"hist:{as_json}", "")) == draws(length_plan(f"hist:{file}", ""))


def test_percentiles_are_where_the_notation_puts_them() -> None:
    lognormal = length_plan("ln(512,p95=4096)", "").input
    normal = length_plan("", "n(550,p90=700)").output
    assert lognormal is not None
    assert normal is not None
    assert lognormal.share_at_most(512) == pytest.approx(0.5, abs=0.001)
    assert lognormal.share_at_most(4096) == pytest.approx(0.95, abs=0.001)
    assert normal.share_at_most(550) == pytest.approx(0.5, abs=0.002)
    assert normal.share_at_most(700) == pytest.approx(0.9, abs=0.002)


def test_lengths_are_at_least_one_and_within_bounds() -> None:
    assert min(draws(length_plan("n(10,30)", ""))) == 1
    bounded = draws(length_plan("n(500,400,min=100,max=600)", ""))
    assert (min(bounded), max(bounded)) == (100, 600)
    assert 2 * Counter(bounded)[100] < DRAWS / 100  # truncated, not moved to the bound


def test_both_lengths_of_a_request_are_of_one_pair() -> None:
    plan = length_plan('pairs:"128/64:25 512/128:50 1024/256:25"', "")
    counts = Counter(plan.lengths(1, number) for number in range(DRAWS))
    assert set(counts) == {(128, 64), (512, 128), (1024, 256)}
    assert counts[512, 128] / DRAWS == pytest.approx(0.5, abs=0.015)


def test_input_and_output_lengths_are_independent() -> None:
    plan = length_plan("u(1,100)", "u(1,100)")
    both = [plan.lengths(1, number) for number in range(DRAWS)]
    in_both_halves = sum((drawn.input or 0) > 50 and (drawn.output or 0) > 50 for drawn in both)
    assert in_both_halves / DRAWS == pytest.approx(0.25, abs=0.015)


def test_the_same_seed_and_number_give_the_same_lengths() -> None:
    plan = length_plan("n(550,100)", "ln(100,p95=400)")
    assert [plan.lengths(7, n) for n in range(100)] == [plan.lengths(7, n) for n in range(100)]
    assert [plan.lengths(7, n) for n in range(100)] != [plan.lengths(8, n) for n in range(100)]


def test_numbers_of_different_streams_differ() -> None:
    assert uniform("1", "a", 5) != uniform("1", "b", 5)
    assert 0 < min(uniform("1", "a", n) for n in range(1000)) < 0.01


def test_forms_of_one_and_of_both_lengths() -> None:
    assert length_plan("1024", "128").lengths(1, 0) == (1024, 128)
    assert length_plan("D(100,1000)", "").lengths(1, 0) == (100, 1000)
    assert length_plan("", "64").lengths(1, 0) == (None, 64)
    assert length_plan("", "").lengths(1, 0) == (None, None)


@pytest.mark.parametrize(
    ("notation", "place"),
    [
        ("0", 0),
        ("12.5", 0),
        ("x(1,2)", 0),
        ("n(550)", 0),
        ("n(550,-3)", 6),
        ("n(550,p95=400)", 10),
        ("n(550,p40=400)", 6),
        ("n(550,sigma=400)", 6),
        ("n(550,100,max=900)x", 18),
        ("n(550,100", 9),
        ("n 550", 2),
        ("u(200,100)", 6),
        ("ln(512,4096)", 0),
        ("N(480,240)", 10),
        ("D(100)", 1),
        ("pairs:128/64:25 512:1", 16),
        ("pairs:", 6),
        ("hist:", 5),
        ("n(550,5,min=900)", 0),
        ("1024 512", 5),
    ],
)
def test_a_notation_that_cannot_be_read_is_marked_at_its_place(notation: str, place: int) -> None:
    with pytest.raises(LengthNotationError) as raised:
        length_plan(notation, "")
    _, text, caret = str(raised.value).split("\n")
    assert text == f"  {notation}"
    assert caret == " " * (place + 2) + "^"


@pytest.mark.parametrize(("inputs", "outputs"), [("", "D(1,2)"), ("D(1,2)", "3"), ("pairs:1/2", "3")])
def test_an_output_length_that_would_have_no_effect_is_refused(inputs: str, outputs: str) -> None:
    with pytest.raises(PromptError, match="--output-tokens"):
        length_plan(inputs, outputs)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("100,1\n-5,1\n", "line 2"),
        ("100,x\n", "line 1"),
        ('{"a": 1}', "JSON"),
        ("", "found none"),
        ('{"0": 1}', "0: 1"),
    ],
)
def test_a_histogram_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "lengths"
    file.write_text(content)
    with pytest.raises(PromptError, match=named) as raised:
        length_plan(f"hist:{file}", "")
    assert "\n" not in str(raised.value)


def test_a_missing_histogram_is_refused() -> None:
    with pytest.raises(PromptError, match="nowhere"):
        length_plan("hist:nowhere", "")


def test_every_notation_of_the_document_can_be_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "workloads.md").read_text(encoding="utf-8")
    file = tmp_path / "lengths"
    file.write_text("128 1")
    rows = re.findall(r"^\| `(.*?)` \|", text.partition("## Recipes")[0], re.MULTILINE)
    words = [shlex.split(line) for line in text.splitlines() if line.startswith("    locust ")]
    inputs = [line[line.index("--input-tokens") + 1] for line in words if "--input-tokens" in line]
    outputs = [line[line.index("--output-tokens") + 1] for line in words if "--output-tokens" in line]
    assert (len(rows), len(inputs), len(outputs)) == (10, 6, 6)
    for notation in (*rows, *inputs):
        plan = length_plan(notation.replace("FILE", str(file)), "")
        assert plan.input is not None
    for notation in outputs:
        assert length_plan("", notation).output is not None
