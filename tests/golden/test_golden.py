"""Whole texts are as their golden files have them; `python -m tests.golden --update` writes the files again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.texts import GOLDEN, golden_texts


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return golden_texts(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_a_text_is_as_its_golden_file_has_it(texts: dict[str, str], path: Path) -> None:
    assert texts[path.name] + "\n" == path.read_text("utf-8")


def test_every_text_has_its_file(texts: dict[str, str]) -> None:
    assert texts.keys() == {path.name for path in GOLDEN.glob("*.txt")}
