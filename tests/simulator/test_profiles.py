"""The profiles against the figures that they are fitted to, and the document's figures against the profiles."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.simulator.closed_loop import Level, level
from tokenswarm.simulator.dialects import DIALECTS
from tokenswarm.simulator.errors import SimulatorError
from tokenswarm.simulator.profiles import PROFILES, profile_named

pytestmark = pytest.mark.slow

DOCUMENT = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
ENGINES = ("vllm", "lmdeploy", "mlc", "trtllm", "tgi")
FITTED = [f"{engine}-llama3-{size}" for size in ("8b", "70b") for engine in ENGINES]
LEVELS = (10, 50, 100)
RAMP_S = 20


def seconds(name: str) -> int:
    """Long enough for some hundred answers."""
    return 300 if name.endswith("70b") else 100


@cache
def run(name: str, users: int) -> Level:
    return level(PROFILES[name], users, seconds(name), RAMP_S)


def rate(name: str, users: int = 100) -> float:
    return run(name, users).token_rate(RAMP_S, seconds(name))


def ttft_ms(size: str, users: int) -> dict[str, float]:
    return {engine: 1000 * run(f"{engine}-llama3-{size}", users).ttft_s(RAMP_S) for engine in ENGINES}


def test_the_rates_of_8b_at_100_users_are_the_published_ones() -> None:
    assert rate("lmdeploy-llama3-8b") == pytest.approx(4000, rel=0.1)
    assert rate("mlc-llama3-8b") == pytest.approx(3500, rel=0.1)
    assert 2300 <= rate("vllm-llama3-8b") <= 2500
    for engine in ("trtllm", "tgi"):
        assert rate(f"{engine}-llama3-8b") == pytest.approx(rate("vllm-llama3-8b"), rel=0.1)


def test_mlc_falls_from_3500_to_3100_within_five_minutes_at_100_users() -> None:
    long = level(PROFILES["mlc-llama3-8b"], 100, 400)
    assert long.token_rate(20, 60) == pytest.approx(3500, rel=0.03)
    assert long.token_rate(320, 400) == pytest.approx(3100, rel=0.03)
    minutes = [long.token_rate(start, start + 60) for start in range(20, 320, 60)]
    assert all(later < earlier for earlier, later in pairwise(minutes))


def test_mlc_does_not_fall_while_its_batch_has_room() -> None:
    long = level(PROFILES["mlc-llama3-8b"], 50, 400)
    assert long.token_rate(340, 400) == pytest.approx(long.token_rate(40, 100), rel=0.03)


def test_three_engines_share_the_best_ttft_of_8b_at_10_users() -> None:
    found = ttft_ms("8b", 10)
    best = [found[engine] for engine in ("vllm", "lmdeploy", "mlc")]
    assert max(best) - min(best) < 4
    assert min(found["trtllm"], found["tgi"]) > max(best)


@pytest.mark.parametrize("users", [50, 100])
def test_vllm_has_the_best_ttft_of_8b_under_load_lmdeploy_comes_next_and_mlc_far_behind(users: int) -> None:
    found = ttft_ms("8b", users)
    assert sorted(found, key=found.__getitem__)[:2] == ["vllm", "lmdeploy"]
    assert found["lmdeploy"] < 1.3 * found["vllm"]
    assert found["mlc"] > (3 if users == 50 else 10) * found["lmdeploy"]


def test_the_rates_of_70b_at_100_users_are_the_published_ones() -> None:
    best = rate("lmdeploy-llama3-70b")
    assert best == pytest.approx(700, rel=0.1)
    assert rate("trtllm-llama3-70b") == pytest.approx(best, rel=0.1)
    assert rate("vllm-llama3-70b") < 0.8 * best
    assert max(rate(name) for name in FITTED if name.endswith("70b")) == best


@pytest.mark.parametrize("users", LEVELS)
def test_lmdeploy_has_the_best_ttft_of_70b_and_vllms_is_low_too(users: int) -> None:
    found = ttft_ms("70b", users)
    # By enough that a run of some minutes tells them apart.
    assert found["lmdeploy"] < 0.9 * min(told for engine, told in found.items() if engine != "lmdeploy")
    assert found["vllm"] < 500


def test_trtllms_64_places_make_100_users_of_70b_wait_more_than_6_seconds() -> None:
    assert ttft_ms("70b", 10)["trtllm"] < 200
    assert 6000 < ttft_ms("70b", 100)["trtllm"] < 8000


@pytest.mark.parametrize("name", FITTED)
def test_a_profile_speaks_its_engines_dialect(name: str) -> None:
    assert profile_named(name).dialect == name.partition("-")[0]
    assert profile_named(name).dialect in DIALECTS


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(SimulatorError, match="unknown profile 'x': expected one of default, fast, vllm-llama3-8b, "):
        profile_named("x")


@pytest.mark.parametrize("name", FITTED)
def test_the_document_has_the_figures_of_each_profile(name: str) -> None:
    (row,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}`")]
    cells = [cell.strip().replace(",", "") for cell in row.strip("|").split("|")]
    for users, cell in zip(LEVELS, cells[1:4], strict=True):
        assert float(cell) == pytest.approx(rate(name, users), rel=0.03)
    for users, cell in zip(LEVELS, cells[4:7], strict=True):
        assert float(cell) == pytest.approx(1000 * run(name, users).ttft_s(RAMP_S), rel=0.05)


@pytest.mark.parametrize("name", [*PROFILES, *DIALECTS])
def test_the_document_names_every_profile_and_dialect(name: str) -> None:
    assert f"`{name}`" in DOCUMENT
