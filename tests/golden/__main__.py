"""`python -m tests.golden --update` writes every golden file again; without it, those that differ are named."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.golden.texts import GOLDEN, golden_texts


def main() -> int:
    """The exit code: 1 where a file differs and was not written."""
    with tempfile.TemporaryDirectory() as scratch:
        texts = golden_texts(Path(scratch))
    differing = []
    for name, text in texts.items():
        path = GOLDEN / name
        if not path.exists() or path.read_text("utf-8") != text + "\n":
            differing.append(name)
            if "--update" in sys.argv:
                path.write_text(text + "\n", "utf-8")
    print("\n".join(differing) or "nothing differs")
    return int(bool(differing) and "--update" not in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
