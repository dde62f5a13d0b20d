"""Shipped text keeps to the project's word list: strings, docstrings and comments, the page, the documents.

`python -m tests.test_language [PATH…]` prints every place that does not.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

#: Word or phrase that is not used, and what to write. Patterns are of whole words, in any case.
FORBIDDEN: dict[str, str] = {
    r"tells?|told|telling": "reports, shows, prints, logs, distinguishes",
    r"asks?|asked|asking": "sends a request, requests, requires",
    r"heard|hears?": "received",
    r"believ(e|es|ed|able|ing)": "trusted, reliable",
    r"books?": "statistics; all requests are accounted for",
    r"ledgers?": "aggregator",
    r"doubts?|doubted": "validity issues",
    r"proofs?": "validity",
    r"stor(y|ies)": "trace",
    r"dear": "expensive, cost",
    r"alike|likeness": "template match; comparable",
    r"(put|set|look(s|ed)? at) aside": "defer, process deferred reads",
    r"turned away": "rejected",
    r"rooms?|house": "package, repository; space",
    r"of (it|them)sel(f|ves)": "server-side metrics",
    r"the client itself": "client health",
    r"the course of (a|the) run": "timeline",
    r"latencies are spread": "latency distributions",
    r"users carried": "SLO capacity",
    r"undecided": "inconclusive",
    r"conditions? (is|are|was|were) (met|broken)": "passed, failed",
    r"what you can turn": "options at a glance",
    r"crews?": "run lifecycle",
    r"crowds?": "workers",
    r"farewells?": "flush before exit",
    r"(last|final) words?": "final report",
    r"stages?": "level",
    r"does not begin": "is not started",
}
_FORBIDDEN = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), instead) for pattern, instead in FORBIDDEN.items()]
#: Most texts have none: one look is enough for them.
_ANY_FORBIDDEN = re.compile(rf"\b(?:{'|'.join(FORBIDDEN)})\b", re.IGNORECASE)
#: Words that no name in the code has as one of its parts: `stage_of`, `toldText`.
FORBIDDEN_IN_NAMES = frozenset(
    (
        *("tell", "tells", "told", "ask", "asks", "asked", "asking", "heard", "believe", "believed", "book", "books"),
        *("ledger", "doubt", "doubts", "story", "stories", "alike", "likeness", "crew", "crowd", "farewell", "stage"),
        *("stages", "room", "rooms", "aside", "material"),
    )
)
#: Texts that cannot be changed: (file, words around the forbidden one).
EXCEPTIONS: frozenset[tuple[str, str]] = frozenset(
    (
        ("run_folder/older_formats.py", "stage"),
        ("run_folder/older_formats.py", "books"),
        ("run_folder/schema.py", "`stage` is"),
        ("run_folder/schema.py", "`books` is"),
        # The system prompt's own text, the simulator's vocabulary, a message of vLLM's: changing them changes the load.
        *(("prompts/system.py", words) for words in ("that was asked first", "only when asked", "When you are asked")),
        *(("prompts/system.py", words) for words in ("repeat them when asked", "help visitors find books")),
        ("simulator/tokens.py", "few house use"),
        ("reports/other_formats/llmd_report.py", "stage"),  # a field of llm-d's
        ("simulator/dialects/vllm.py", "leaves no room for output tokens"),
    )
)

_NO_PROSE = ("tests/", "prompts/sample.jsonl", "LICENSE", "constraints.txt", "CHANGELOG.md")
_TEXT_SUFFIXES = frozenset((".md", ".html", ".js", ".css", ".yml", ".yaml", ".toml", ".env", ""))


class Finding(NamedTuple):
    """A word of the list in a file."""

    file: str
    line: int
    word: str
    instead: str
    context: str


def shipped_files() -> list[str]:
    """What is committed, but for tests, data and licences."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if not name.startswith(_NO_PROSE) and (ROOT / name).is_file()]


def texts_of(name: str, tree: ast.Module | None) -> Iterator[tuple[int, str]]:
    """(first line, text) of what people read in a file. tree: of one in Python."""
    path = ROOT / name
    if path.suffix not in {".py", ".json", *_TEXT_SUFFIXES}:
        return
    content = path.read_text(encoding="utf-8")
    if tree is not None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value
        if _ANY_FORBIDDEN.search(content):  # else no comment has any, and taking it apart is slow
            for token in tokenize.generate_tokens(io.StringIO(content).readline):
                if token.type == tokenize.COMMENT:
                    yield token.start[0], token.string
    elif path.suffix == ".json":
        yield from ((1, text) for text in _strings(json.loads(content)))
    else:
        yield 1, content


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def findings_in(name: str) -> Iterator[Finding]:
    """Words of the list in the file's texts, and in the names that it defines."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8")) if name.endswith(".py") else None
    for first_line, text in texts_of(name, tree):
        for pattern, instead in _FORBIDDEN if _ANY_FORBIDDEN.search(text) else ():
            for match in pattern.finditer(text):
                context = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
                if not any(name == file and words in context for file, words in EXCEPTIONS):
                    line = first_line + text.count("\n", 0, match.start())
                    yield Finding(name, line, match.group(), instead, context)
    if tree is not None:
        yield from names_in(name, tree)


def names_in(name: str, tree: ast.Module) -> Iterator[Finding]:
    """Names that the file defines and that have a word of the list in them."""
    for node in ast.walk(tree):
        for defined in _defined(node):
            parts = set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", defined).lower().split("_"))
            for word in sorted(parts & FORBIDDEN_IN_NAMES):
                yield Finding(name, getattr(node, "lineno", 0), word, "", defined)


def _defined(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.id if isinstance(node, ast.Name) else node.attr


def test_text_and_names_keep_to_the_word_list() -> None:
    assert [finding for name in shipped_files() for finding in findings_in(name)] == []


def main(paths: list[str]) -> int:
    """Print what does not keep to the list, under the paths given or anywhere. 1 where there is any."""
    names = [name for name in shipped_files() if not paths or name.startswith(tuple(paths))]
    found = [finding for name in names for finding in findings_in(name)]
    for finding in found:
        print(f"{finding.file}:{finding.line}: {finding.word!r} in “{finding.context}”: {finding.instead or 'rename'}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
