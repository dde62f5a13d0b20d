"""`python -m tests.options_page`: writes the tables of all options into docs/options.md.

They are between `<!-- options -->` and `<!-- end -->`: a section for each group of `tokenswarm run --help`, in
its order. Each has a row for each option of Tokenswarm, with the option's help, and the names of Locust's own options.
`--check` writes nothing and exits with 1 where the document has other tables.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.option_parser import parser_of_all_options
from tokenswarm.run_command.grouped_help import MOST_CHOICES
from tokenswarm.run_command.option_groups import GROUPS, PAGE, OptionGroup

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = Path("docs/options.md")
_SECTION = re.compile(r"(<!-- options -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD = "| option | default | variable | |\n|---|---|---|---|"
#: A reference to a document, and what is code: quoted text, options, variables, addresses, assignments, files, and
#: notations such as n(550,100) and gamma:SHAPE.
_WORD = re.compile(
    r"docs/(?P<page>[\w/-]+\.md)(?P<anchor>#[\w-]+)?"
    r'|"(?P<quoted>[^"]+)"'
    r"|(?P<code>(?<![\w-])--?[a-z][a-z-]*\b"
    r"|\b[A-Z]+(?:_[A-Z]+)+\b"
    r"|\b(?:https?|s3)://[^\s;,)]+"
    r"|\b[a-z]+=[\w.]+"
    r"|\b[\w-]+\.(?:json|csv)\b|\b[a-z]+/(?=\s)"
    r"|\b[a-z]+:[\w/:@]*\w"
    r"|\b[A-Za-z]+\([^\s()]*\d[^\s()]*\))"
)


def tables(parser: argparse.ArgumentParser) -> str:
    """All sections."""
    actions = parser._option_string_actions
    return "\n\n".join(_section(group, actions) for group in (*GROUPS, PAGE))


def _section(group: OptionGroup, actions: Mapping[str, argparse.Action]) -> str:
    own = [actions[flag] for flag in group.flags if is_own(actions[flag])]
    of_locust = [f"`{flag}`" for flag in group.flags if not is_own(actions[flag])]
    parts = [f"### {group.title}"]
    if own:
        parts.append("\n".join([_HEAD, *map(_row, own)]))
    if of_locust:
        parts.append(f"Locust's own: {', '.join(of_locust)}.")
    return "\n\n".join(parts)


def is_own(action: argparse.Action) -> bool:
    """Whether the option is Tokenswarm's and not Locust's."""
    return (getattr(action, "env_var", None) or "").startswith("TOKENSWARM_")


def _row(action: argparse.Action) -> str:
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
    variable: str = getattr(action, "env_var", "")
    cells = [f"{flags} {_values(action)}".strip(), _default(action), f"`{variable}`", formatted(action.help or "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(action: argparse.Action) -> str:
    """What stands behind the option, "" where that is plain."""
    if isinstance(action.metavar, str):
        return action.metavar
    choices = [str(choice) for choice in action.choices or ()]
    return "NAME" if len(choices) > MOST_CHOICES else "|".join(choices)


def _default(action: argparse.Action) -> str:
    if action.default is False:
        return "off"
    return "empty" if action.default in ("", []) else f"`{action.default}`"


def formatted(text: str) -> str:
    """A help text as Markdown: code in backticks, documents as links."""
    return _WORD.sub(_markdown, text)


def _markdown(found: re.Match[str]) -> str:
    if page := found["page"]:
        anchor = found["anchor"] or ""
        return f"[below]({anchor})" if Path("docs") / page == DOCUMENT and anchor else f"[{page}]({page}{anchor})"
    return f"`{found['quoted'] or found['code']}`"


def updated(text: str, parser: argparse.ArgumentParser) -> str:
    """The document with its tables made anew."""
    return _SECTION.sub(lambda match: f"{match[1]}\n{tables(parser)}\n\n{match[2]}", text)


def main() -> int:
    """0; 1 where --check finds other tables."""
    arguments = argparse.ArgumentParser(allow_abbrev=False, prog="python -m tests.options_page", description=__doc__)
    arguments.add_argument("--check", action="store_true", help="write nothing")
    path = ROOT / DOCUMENT
    old = path.read_text(encoding="utf-8")
    new = updated(old, parser_of_all_options())
    if arguments.parse_args().check:
        print("up to date" if old == new else f"{DOCUMENT} does not have the options' help texts")
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
