"""Imports run one way: DESIGN in one table, held against the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROOMS = {
    "users",
    "shapes",
    "prompts",
    "engines",
    "wire",
    "metrics",
    "reports",
    "simulator",
    "probe",
    "page",
    "options",
    "startup",
    "sanitize",
}
#: Which of our rooms each place may import besides its own.
MAY_IMPORT: dict[str, set[str]] = {
    "locustfile": {"users", "shapes", "metrics", "page", "reports", "options", "startup", "sanitize"},
    "tokenswarm": {"reports", "simulator", "probe", "options", "sanitize"},
    "users": {"prompts", "engines", "wire", "metrics", "options", "sanitize"},
    "reports": {"metrics", "options", "sanitize"},
    "page": {"metrics", "reports", "sanitize"},
    "probe": {"users", "prompts", "engines", "wire", "metrics", "reports", "sanitize"},
    "shapes": {"options"},
    "prompts": {"sanitize"},
    "engines": {"sanitize"},
    "wire": {"sanitize"},
    "metrics": {"options", "sanitize"},
    "options": {"sanitize"},
    "startup": {"users", "shapes", "metrics", "page", "reports", "options", "sanitize"},
    "simulator": set(),
    "sanitize": set(),
}
LINKS = (
    *("metrics/master_link.py", "metrics/master_gate.py", "metrics/worker_link.py", "metrics/worker_users.py"),
    "metrics/transport.py",
)
#: Where Locust may be imported; everything else runs and tests without it.
LOCUST_PLACES = {
    "startup/plans.py",
    "locustfile.py",
    "metrics/hooks.py",
    "metrics/endings.py",
    *LINKS,
    "metrics/dispatcher.py",
    "page/mount.py",
}
LOCUST_ROOMS = {"users", "shapes"}
#: Where gevent may be imported besides: the rest is free of it.
ENDINGS = ("metrics/endings.py", "metrics/interrupts.py")
GEVENT_PLACES = {"metrics/hooks.py", *ENDINGS, *LINKS, "metrics/prometheus.py", "page/mount.py"}
GEVENT_ROOMS = {"users", "wire", "probe"}


def modules() -> list[Path]:
    files = [ROOT / "locustfile.py", ROOT / "tokenswarm.py"]
    return files + sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The first names of everything that the file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            assert node.module is not None
            names.add(node.module.partition(".")[0])
    return names


def place(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_the_rooms_that_its_own_may(file: Path) -> None:
    ours = imported(file) & (ROOMS | {"locustfile", "tokenswarm"})
    assert ours <= MAY_IMPORT[place(file)] | {place(file)}


@pytest.mark.parametrize(
    ("library", "places", "rooms"), [("locust", LOCUST_PLACES, LOCUST_ROOMS), ("gevent", GEVENT_PLACES, GEVENT_ROOMS)]
)
def test_a_library_that_takes_over_the_process_stays_where_it_belongs(
    library: str, places: set[str], rooms: set[str]
) -> None:
    strays = [
        str(file.relative_to(ROOT))
        for file in modules()
        if library in imported(file) and place(file) not in rooms and str(file.relative_to(ROOT)) not in places
    ]
    assert not strays


def test_siblings_are_imported_at_module_top() -> None:
    """Later, the locustfile's folder no longer leads sys.path: a lazy import could find a stranger's `users`."""
    for file in modules():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lazy = {
                    name
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Import | ast.ImportFrom)
                    for name in (
                        [inner.module or ""] if isinstance(inner, ast.ImportFrom) else [a.name for a in inner.names]
                    )
                }
                assert not {name.partition(".")[0] for name in lazy} & ROOMS, f"{file}: {node.name}"


def test_the_package_lists_every_room_and_every_folder_in_it() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {file.parent.relative_to(ROOT) for room in ROOMS for file in (ROOT / room).rglob("*.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == {".".join(folder.parts) for folder in folders}


def test_every_room_is_a_regular_package() -> None:
    """A folder without __init__.py gives way to any package of its name that stands later on sys.path."""
    assert [room for room in sorted(ROOMS) if not (ROOT / room / "__init__.py").exists()] == []
