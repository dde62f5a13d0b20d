"""How Locust imports locustfiles, and which of their classes are found before it has an environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from locust.util.load_locustfile import load_locustfile

from tokenswarm.upstream.loaded_locustfiles import loaded_classes

USERS = """
from locust import LoadTestShape, User

class {0}(User):
    pass

class Base{0}(User):
    abstract = True

class Steps{0}(LoadTestShape):
    def tick(self):
        return 1, 1
"""


def test_classes_of_imported_files_are_those_that_locust_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in ("first_own_file.py", "second_own_file.py", "unread_own_file.py")]
    for file, name in zip(files, ("One", "Two", "Three"), strict=True):
        file.write_text(USERS.format(name))
    taken = []
    for file in files[:2]:
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
        users, shapes = load_locustfile(str(file))
        taken.append(([*users.values()], [type(shape) for shape in shapes]))
    both = loaded_classes(f"{files[0]}, {files[1]}")
    assert both == tuple(one + two for one, two in zip(*taken, strict=True))
    assert [each.__name__ for each in both[0]] == ["One", "Two"]
    monkeypatch.chdir(tmp_path)
    assert loaded_classes("first_own_file.py") == taken[0]
    for elsewhere in (str(files[2]), "-", "http://host/first_own_file.py"):
        assert loaded_classes(elsewhere) == ([], [])
    for file in files[:2]:
        del sys.modules[file.stem]
