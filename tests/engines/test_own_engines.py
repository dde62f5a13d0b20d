"""Engines of locustfiles and of other packages: they are detected, and one that cannot be used harms no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from tokenswarm.engines import ENGINES, EngineError, GetResponse, identify, own_engines, register_engine
from tokenswarm.engines.detection import Detection, owned_by
from tokenswarm.engines.engine_metrics import Concept, EngineMetrics, Series
from tokenswarm.engines.server_metrics import read_metrics

ACME = replace(
    ENGINES["openai"],
    name="acme",
    detection=Detection(clues=(owned_by("vllm"),)),
    metrics=EngineMetrics(series={Concept.REQUESTS_RUNNING: (Series("acme_running"),)}),
)
MODELS = GetResponse(200, {"content-type": "application/json"}, b'{"data": [{"id": "m", "owned_by": "vllm"}]}')


@pytest.fixture(autouse=True)
def no_engines_for_other_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(ENGINES)
    monkeypatch.setattr(own_engines, "_found", [])
    yield
    ENGINES.clear()
    ENGINES.update(before)


def pages(path: str) -> GetResponse | None:
    return MODELS if path == "/v1/models" else None


def test_a_registered_engine_is_detected_before_those_that_its_clues_fit_too() -> None:
    assert identify(pages).engine == "vllm"
    assert register_engine(ACME) is ACME
    assert identify(pages).engine == "acme"


def test_the_metrics_of_a_registered_engine_are_read() -> None:
    page = b"# TYPE acme_running gauge\nacme_running 3\n"
    assert read_metrics(page) == {}
    register_engine(ACME)
    assert read_metrics(page) == {Concept.REQUESTS_RUNNING: 3.0}


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (replace(ACME, name="vllm"), "already"),
        (replace(ACME, name="auto"), "already"),
        (replace(ACME, name="Acme 2"), "small letters"),
        ("acme", "EngineSpec, got str"),
    ],
)
def test_what_is_no_engine_of_its_own_is_refused(spec: Any, named: str) -> None:
    with pytest.raises(EngineError, match=named):
        register_engine(spec)


def test_engines_of_packages_are_registered_once_and_a_broken_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("acme", f"{__name__}:ACME", own_engines.GROUP),
        EntryPoint("gone", "no_such_package:SPEC", own_engines.GROUP),
    ]
    monkeypatch.setattr(own_engines, "entry_points", lambda group: [point for point in points if point.group == group])
    (sentence,) = own_engines.load_engines_of_packages()
    assert "gone" in sentence and "no_such_package" in sentence
    assert ENGINES["acme"].path == ACME.path
    assert own_engines.load_engines_of_packages() == [sentence]
