"""Links the packages under .venv/typing/tokenswarm as a wheel has them, and the examples, for mypy. Run by `make
lint`."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYOUT = ROOT / ".venv" / "typing"


def link_packages() -> None:
    """Replace the links by those that a wheel has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["files"]
    (LAYOUT / "tokenswarm").mkdir(parents=True, exist_ok=True)
    for link in (LAYOUT / "tokenswarm").iterdir():
        link.unlink()
    for source, target in included.items():
        (LAYOUT / target).symlink_to(ROOT / source)
    if not (LAYOUT / "examples").exists():
        (LAYOUT / "examples").symlink_to(ROOT / "examples")


if __name__ == "__main__":
    link_packages()
