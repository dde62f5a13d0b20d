"""`tokenswarm runs`: the runs of a results folder as a list, and their names and tags changed."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tokenswarm.command_line import collect_errors, nearest_names
from tokenswarm.command_line.command_parser import CommandParser
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.reports import units
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.output import show, terminal_width
from tokenswarm.reports.past_runs import SWEEP_MANIFEST, PastRun, RunIndex
from tokenswarm.reports.run_list import RunFilter, parse_since, run_table
from tokenswarm.run_folder.reader import ReportError
from tokenswarm.run_folder.relabel import Labels, relabel
from tokenswarm.run_folder.run_labels import LabelError, parse_name, parse_tags, tags_text

_PROG = "tokenswarm runs"
_LIST = (
    "List the runs of a results folder, the newest first, with their figures. `tokenswarm runs name RUN NAME` and "
    "`tokenswarm runs tag RUN KEY=VALUE` name and tag a run that is over."
)

#: What to give in place of a folder that has none.
_WHERE = "give the results folder of the runs (the one of --results)"


def run(words: Sequence[str]) -> int:
    """Do what these words say. Returns the exit code: 0; 2 with a sentence for each error on the standard error."""
    verbs = {"name": _name, "tag": _tag}
    if len(words) > 1 and words[0] not in verbs and (near := _misspelled(words[0], verbs)):
        print(f"{_PROG}: unknown word {words[0]!r}; did you mean {near[0]}?", file=sys.stderr)
        return EXIT_UNUSABLE
    act = verbs.get(words[0] if words else "", _list)
    parser, rest = parser_of(words)
    args = _read(parser, rest)
    return ended(parser.prog.removeprefix("tokenswarm "), lambda: act(args))


def _misspelled(word: str, verbs: Iterable[str]) -> list[str]:
    """The verb that a word stands for which is neither an option nor a folder."""
    return [] if word.startswith("-") or Path(word).exists() else nearest_names(word, verbs)


def parser_of(words: Sequence[str]) -> tuple[CommandParser, list[str]]:
    """The parser of what these words say, and the words that it is for."""
    parsers = {"name": _name_parser, "tag": _tag_parser}
    if words and words[0] in parsers:
        return parsers[words[0]](), list(words[1:])
    return _list_parser(), list(words)


def _list_parser() -> CommandParser:
    parser = CommandParser(prog=_PROG, description=_LIST)
    parser.add_argument("folder", nargs="?", default="results", metavar="FOLDER", help="the folder (default: results)")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="KEY=VALUE", help="runs with this tag; if repeated, with all"
    )
    parser.add_argument("--engine", action="append", default=[], metavar="NAME", help="runs of this engine")
    parser.add_argument(
        "--verdict",
        action="append",
        default=[],
        metavar="VERDICT",
        help="runs with this verdict or status: valid, suspect, failed, interrupted, …",
    )
    parser.add_argument("--since", default="", metavar="WHEN", help="runs begun at 2026-07-01 or later, or 7d ago")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    return parser


def _name_parser() -> CommandParser:
    parser = CommandParser(prog=f"{_PROG} name", description="Name a run that is over, or take its name away.")
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder that the run left")
    parser.add_argument("name", metavar="NAME", nargs="?", help="what to call it")
    parser.add_argument("--remove", action="store_true", help="take its name away")
    return parser


def _tag_parser() -> CommandParser:
    parser = CommandParser(
        prog=f"{_PROG} tag", description="Tag a run that is over; a tag of the same key is replaced."
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder that the run left")
    parser.add_argument("tags", metavar="KEY=VALUE", nargs="*", help="tags to add")
    parser.add_argument("--remove", action="append", default=[], metavar="KEY", help="a tag to take away")
    return parser


def _read(parser: CommandParser, words: Sequence[str]) -> Namespace:
    """The arguments. Ends the process with a sentence for each that is wrong."""
    args, unknown = parser.parse_known_args(list(words))
    if errors := [*parser.errors, *parser.unknown(unknown)]:
        parser.refuse(errors)
    read: Namespace = args
    return read


def _list(args: Namespace) -> int:
    """Raises ReportError, OptionErrors."""
    folder = Path(args.folder)
    with collect_errors() as errors:
        tags = errors.of(_parsed_tags, args.tag, "--tag")
        since = errors.of(parse_since, args.since, datetime.now(UTC)) if args.since else None
        errors.of(_check_folder, folder)
    found = RunIndex().runs(folder, name=str(args.folder), most=None)
    wanted = RunFilter(tags, args.engine, args.verdict, since)
    runs = [each for each in found if wanted.takes(each)]
    if args.json:
        show(_json(runs))
    elif runs:
        show(run_table(runs, terminal_width()))
    else:
        of_all = f"; {units.counted(len(found), 'run')} in all" if found else ""
        show(f"No such run in {folder}{of_all}." if found else f"No run in {folder}; {_WHERE}.")
    sweeps = sorted((file.parent for file in folder.glob(f"*/{SWEEP_MANIFEST}")), reverse=True)
    if sweeps and not args.json:
        which = "a sweep" if len(sweeps) == 1 else f"{units.count(len(sweeps))} sweeps, of which the newest"
        show(f"Besides, there is {which} with runs of its own: tokenswarm runs {sweeps[0]}")
    return 0


def _check_folder(folder: Path) -> None:
    if (folder / "run.json").is_file():
        raise ReportError(
            f"{folder} is the folder of one run: give the folder that it is in, or use tokenswarm report."
        )
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ReportError(f"{folder} {what}: {_WHERE}.")


def _json(runs: Sequence[PastRun]) -> str:
    left_out = ("files", "comparable", "spool")
    rows = [{key: value for key, value in _fields(each).items() if key not in left_out} for each in runs]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()


def _fields(run: PastRun) -> Mapping[str, object]:
    fields: Mapping[str, object] = msgspec.to_builtins(run)
    return fields


def _name(args: Namespace) -> int:
    """Raises ReportError."""
    if args.remove == bool(args.name):
        raise ReportError("give either a NAME or --remove.")
    try:
        name = "" if args.remove else parse_name(args.name, "NAME")
    except LabelError as error:
        raise ReportError(str(error)) from None
    relabel(args.run, lambda labels: labels._replace(name=name))
    show(f"{args.run} is called {name!r}. {_hint(args.run)}" if name else f"{args.run} has no name. {_hint(args.run)}")
    return 0


def _tag(args: Namespace) -> int:
    """Raises ReportError."""
    new = _parsed_tags(args.tags, "KEY=VALUE")
    if not new and not args.remove:
        raise ReportError("give KEY=VALUE or --remove KEY.")

    def changed(labels: Labels) -> Labels:
        if missing := [key for key in args.remove if key not in labels.tags]:
            has = tags_text(labels.tags) or "none"
            raise ReportError(f"{args.run} has no tag {', '.join(missing)} to take away; its tags: {has}.")
        kept = {key: value for key, value in labels.tags.items() if key not in args.remove}
        return labels._replace(tags=kept | new)

    tags = relabel(args.run, changed).tags
    show(f"Tags of {args.run}: {tags_text(tags) or 'none'}. {_hint(args.run)}")
    return 0


def _hint(run: Path) -> str:
    return f"Its report.html shows it once it is drawn again: tokenswarm report {run}"


def _parsed_tags(texts: Sequence[str], option: str) -> dict[str, str]:
    try:
        return parse_tags(texts, option)
    except LabelError as error:
        raise ReportError(str(error)) from None
