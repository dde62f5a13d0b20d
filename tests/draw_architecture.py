"""`python -m tests.draw_architecture`: writes the picture and the table of imports into docs/architecture.md.

Both are made from MAY_IMPORT of tests/test_architecture.py, which also checks that the document has them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

DOCUMENT = Path("docs/architecture.md")
_SECTION = re.compile(r"(<!-- imports -->\n).*?(<!-- end -->)", re.DOTALL)


def drawing(may_import: Mapping[str, set[str]]) -> str:
    """A Mermaid diagram: an arrow from each package to those it imports, without arrows that others imply."""
    reached = {package: _reachable(package, may_import) for package in may_import}
    lines = ["```mermaid", "flowchart BT"]
    for package, imports in may_import.items():
        implied = {other for direct in imports for other in reached[direct]}
        lines += [f"    {package} --> {other}" for other in sorted(imports - implied)] or [f"    {package}"]
    return "\n".join([*lines, "```"])


def _reachable(package: str, may_import: Mapping[str, set[str]]) -> set[str]:
    """All packages that it imports, directly or through others."""
    found: set[str] = set()
    ahead = set(may_import[package])
    while ahead:
        found |= ahead
        ahead = {other for direct in ahead for other in may_import[direct]} - found
    return found


def table(may_import: Mapping[str, set[str]]) -> str:
    """All that each package may import."""
    rows = [f"| `{package}` | {', '.join(sorted(imports)) or '–'} |" for package, imports in may_import.items()]
    return "\n".join(["| package | may import |", "|---|---|", *rows])


def updated(text: str, may_import: Mapping[str, set[str]]) -> str:
    """The document with its picture and table made anew."""
    section = f"{drawing(may_import)}\n\n{table(may_import)}\n"
    return _SECTION.sub(lambda match: match[1] + section + match[2], text)


def main() -> int:
    from tests.test_architecture import MAY_IMPORT, ROOT

    path = ROOT / DOCUMENT
    path.write_text(updated(path.read_text(encoding="utf-8"), MAY_IMPORT), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
