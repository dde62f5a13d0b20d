"""What locustfiles may import: the same names in the code, its types and docs/python-api.md, and an example of each."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import tokenswarm
from tokenswarm.users.stream_response import StreamResponse
from tokenswarm.users.streaming_user import StreamingUser

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def first_cells(table: str) -> set[str]:
    """The names in the first column of the table that begins with this heading."""
    rows = DOCUMENT[DOCUMENT.index(table) :].split("\n\n")[0].splitlines()[2:]
    return {name for row in rows if row.startswith("|") for name in re.findall(r"`(\w+)", row.split("|")[1])}


def test_the_document_names_what_can_be_imported() -> None:
    assert first_cells("| from `tokenswarm` | is |") == set(tokenswarm.__all__) == set(tokenswarm._API)


@pytest.mark.parametrize("name", tokenswarm.__all__)
def test_each_name_is_explained_where_it_is_defined(name: str) -> None:
    if name in tokenswarm._USERS:  # importing these puts a run together in this process
        return
    found = getattr(tokenswarm, name)
    assert found is not None
    assert inspect.getdoc(found)


def test_the_document_has_every_parameter_of_stream() -> None:
    parameters = set(inspect.signature(StreamingUser.stream).parameters) - {"self"}
    assert first_cells("| parameter | is |") == parameters


def test_the_document_has_every_attribute_of_a_response() -> None:
    public = {name for name in dir(StreamResponse) if not name.startswith("_")}
    assert first_cells("| attribute of `StreamResponse` | is |") == public


def test_each_example_is_run_by_a_test_and_says_how_to_start_it() -> None:
    tests = (ROOT / "tests" / "runs" / "test_example_runs.py").read_text(encoding="utf-8")
    assert first_cells("| in `examples/` | shows |") == {example.stem for example in EXAMPLES}
    for example in EXAMPLES:
        assert f'"{example.stem}"' in tests
        assert f"tokenswarm run -f examples/{example.name}" in example.read_text(encoding="utf-8")
