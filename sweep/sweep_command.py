"""`tokenswarm sweep`: a matrix of runs, one after another, and one table and page for all of them."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import SUPPRESS, Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tokenswarm.command_line import OptionErrors, collect_errors
from tokenswarm.command_line.command_parser import CommandParser
from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_OK
from tokenswarm.recording.build import tokenswarm_version
from tokenswarm.reports import units
from tokenswarm.reports.checks.run_checks import write_text
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.output import show, terminal_width
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.run_folder.remote_folder import is_url
from tokenswarm.run_folder.run_labels import LabelError, parse_name
from tokenswarm.sweep.cell_checks import CellCheck, check_cells
from tokenswarm.sweep.cell_figures import rows_of
from tokenswarm.sweep.cell_process import CellProcesses, check_none_runs, run_folders
from tokenswarm.sweep.manifest import (
    Manifest,
    RunState,
    SweepRun,
    locked,
    new_folder,
    read_manifest,
    set_apart,
    write_manifest,
)
from tokenswarm.sweep.sweep_file import read_sweep
from tokenswarm.sweep.sweep_page import sweep_html
from tokenswarm.sweep.sweep_plan import SweepCell, SweepError, SweepPlan, options_in, order_of, parse_vary
from tokenswarm.sweep.sweep_runner import RunOutcome, exit_code_of, run_sweep
from tokenswarm.sweep.sweep_table import sweep_csv, sweep_table

PAGE, CSV = "sweep.html", "sweep.csv"
_RESULTS = "results"
_USAGE = (
    "tokenswarm sweep [FILE] [--vary OPTION=VALUE,VALUE]... [options of a run]\n       tokenswarm sweep --resume FOLDER"
)
_ABOUT = (
    "Run every combination of some options, one after another, each as a run of its own, and show all of them in one "
    "table and page. FILE (TOML or JSON) has name, repeat, options, matrix, exclude, include: docs/sweeps.md. All "
    "options of `tokenswarm run` are taken too, for every cell."
)
_HELP = frozenset(("-h", "--help"))
_BESIDE_RESUME = ("vary", "repeat", "name", "results")


def run(words: Sequence[str]) -> int:
    """Do what these words say. Returns the exit code: the worst of the runs; 4 where the sweep was interrupted; 2 with
    a sentence for each error on the standard error, before the first run."""
    if _HELP & set(words):
        show(_parser().format_help().rstrip())
        return EXIT_OK
    parser, given = parser_of(words)
    args, of_runs = parser.parse_known_args(given)
    if parser.errors:
        parser.refuse(parser.errors)
    file = words[0] if len(given) < len(words) else None
    return ended("sweep", lambda: _sweep(args, file, of_runs, list(words)))


def parser_of(words: Sequence[str]) -> tuple[CommandParser, list[str]]:
    """The sweep's own parser, and the words that it is for: those behind a file. It leaves the options of runs."""
    has_file = bool(words) and not words[0].startswith("-")
    return _parser(), list(words[1:] if has_file else words)


def _parser() -> CommandParser:
    parser = CommandParser(prog="tokenswarm sweep", usage=_USAGE, description=_ABOUT, add_help=False)
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="OPTION=VALUE,VALUE",
        help='an option with its values, like levels=10,50 or "levels=10,50;100", with ; between values that have '
        "commas; may be given several times",
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="run all cells N times, in the order A B A B (default: 1)"
    )
    parser.add_argument("--name", default="", help="what to call the sweep")
    parser.add_argument("--results", default="", metavar="FOLDER", help="where its folder is made (default: results)")
    parser.add_argument("--resume", default="", metavar="FOLDER", help="run what has not finished of a sweep")
    parser.add_argument("--stop-on-failure", action="store_true", help="run no further cell after one that fails")
    parser.add_argument("--dry-run", action="store_true", help="show the cells and how long they take, and run nothing")
    parser.add_argument("-h", "--help", action="help", default=SUPPRESS, help="show this help and end")
    return parser


def _sweep(args: Namespace, file: str | None, of_runs: list[str], words: list[str]) -> int:
    """Raises ReportError, OptionErrors."""
    if args.resume:
        return _resume(args, file, of_runs)
    parent = _results_folder(args.results)
    plan = _plan(args, file, of_runs)
    cells = plan.cells()
    checks = _checked(plan, cells)
    if args.dry_run:
        show(_dry_run(plan, cells, checks))
        return EXIT_OK
    began = datetime.now(UTC)
    folder = new_folder(parent, f"sweep-{began.astimezone():%Y%m%d-%H%M%S}")
    manifest = Manifest(
        tokenswarm_version=tokenswarm_version(),
        name=plan.name,
        started_at=began,
        current_folder=str(Path.cwd()),
        command=words,
        varied=list(dict.fromkeys(option for cell in cells for option in cell.values)),
        repeat=plan.repeat,
        runs=list(_runs(plan, cells, checks)),
    )
    write_manifest(folder, manifest)
    with locked(folder) as lock:
        return _run(folder, manifest, args.stop_on_failure, lock)


def _resume(args: Namespace, file: str | None, of_runs: Sequence[str]) -> int:
    """Raises ReportError, OptionErrors."""
    folder = Path(args.resume)
    given = [f"--{name}" for name in _BESIDE_RESUME if getattr(args, name)]
    if file or given or of_runs:
        what = ", ".join([*([file] if file else []), *given, *(f"--{name}" for name in options_in(of_runs))])
        raise SweepError(f"--resume runs what its folder says: leave {what or 'the other words'} out.")
    manifest = read_manifest(folder)
    check_none_runs(folder)
    if not Path(manifest.current_folder).is_dir():
        raise SweepError(
            f"{manifest.current_folder}, in which the sweep was started and to which paths of its options are "
            "relative, is not there any more: make it again."
        )
    with locked(folder) as lock:
        left = [run for run in manifest.runs if run.state is not RunState.FINISHED]
        if args.dry_run:
            show("\n".join([*_run_lines(left), _total(left)]) if left else "All runs have finished.")
            return EXIT_OK
        _refuse_wrong(check_cells([run.words for run in left], _own_flags(), manifest.current_folder), left)
        manifest = set_apart(folder, manifest, run_folders(folder))
        write_manifest(folder, manifest)
        return _run(folder, manifest, args.stop_on_failure, lock)


def _results_folder(given: str) -> Path:
    """Raises SweepError for the URL of a store, which a folder of that name would be made for."""
    place = given or os.environ.get("TOKENSWARM_RESULTS", "") or _RESULTS
    if is_url(place):
        option = "--results" if given else "TOKENSWARM_RESULTS"
        raise SweepError(
            f"{option} of a sweep takes a folder of this machine: copy its runs to a store afterwards, each with "
            "tokenswarm upload."
        )
    return Path(place)


def _plan(args: Namespace, file: str | None, of_runs: list[str]) -> SweepPlan:
    """The file's plan; words of the command line replace what they name in it. Raises SweepError, OptionErrors."""
    with collect_errors() as errors:
        of_file = errors.of(read_sweep, Path(file)) if file else SweepPlan()
        varied = [axis for text in args.vary if (axis := errors.of(parse_vary, text)) is not None]
        name = errors.of(_name_of, args.name)
        if of_file is not None:
            errors.of(_name_of, of_file.name)
    given = {*options_in(of_runs), *(axis.option for axis in varied)}
    fixed = {option: value for option, value in (of_file.fixed or {}).items() if option not in given}
    axes = [axis for axis in of_file.axes if axis.option not in given]
    return SweepPlan(
        name or of_file.name,
        of_file.repeat if args.repeat is None else args.repeat,
        fixed,
        tuple(of_runs),
        (*axes, *varied),
        of_file.exclude,
        of_file.include,
    )


def _name_of(text: str) -> str:
    try:
        return parse_name(text)
    except LabelError as error:
        raise SweepError(str(error)) from None


def _checked(plan: SweepPlan, cells: Sequence[SweepCell]) -> list[CellCheck]:
    """Raises OptionErrors with all that is wrong with any cell."""
    checks = check_cells([plan.cell_words(cell) for cell in cells], _own_flags())
    _refuse_wrong(
        checks,
        [SweepRun(number=i, cell=i, repeat=1, name=cell.name, values={}, words=[]) for i, cell in enumerate(cells, 1)],
    )
    return checks


def _refuse_wrong(checks: Sequence[CellCheck], runs: Sequence[SweepRun]) -> None:
    """Each sentence once, with the cells that it is of unless it is of all. Raises OptionErrors."""
    found: dict[str, list[SweepRun]] = {}
    for check, run in zip(checks, runs, strict=True):
        for sentence in check.errors:
            found.setdefault(sentence, []).append(run)
    if not found:
        return
    raise OptionErrors(
        [
            sentence
            if len(of) == len(runs)
            else f"cell {', '.join(dict.fromkeys(str(run.cell) for run in of))}: {sentence}"
            for sentence, of in found.items()
        ]
    )


def _runs(plan: SweepPlan, cells: Sequence[SweepCell], checks: Sequence[CellCheck]) -> Iterator[SweepRun]:
    for place, (number, time) in enumerate(order_of(cells, plan.repeat), start=1):
        cell = cells[number - 1]
        yield SweepRun(
            number=place,
            cell=number,
            repeat=time,
            name=cell.name,
            values=cell.texts,
            words=plan.cell_words(cell),
            planned_s=checks[number - 1].planned_s,
        )


def _run(folder: Path, manifest: Manifest, stop_on_failure: bool, lock: int) -> int:
    """Run what is left, and write and show what came of all of it. Raises ReportError."""
    processes = CellProcesses(folder, lock, manifest.current_folder)
    show(f"Sweep: {folder}: {units.counted(manifest.count(RunState.PLANNED), 'run')} to go", sys.stderr)

    def run_cell(run: SweepRun) -> RunOutcome:
        left = [each for each in manifest.runs if each.number >= run.number and each.state is not RunState.FINISHED]
        show(f"\nRun {run.number} of {len(manifest.runs)}: {_run_text(run)}. {_total(left)}", sys.stderr)
        return processes.run(run.words)

    with processes.answering_signals():
        manifest_at_end = run_sweep(
            manifest, run_cell, lambda each: write_manifest(folder, each), lambda: datetime.now(UTC), stop_on_failure
        )
    report_sweep(folder, manifest_at_end)
    not_done = len(manifest_at_end.runs) - manifest_at_end.count(RunState.FINISHED)
    if not_done:
        show(f"Run what has not finished: tokenswarm sweep --resume {shlex.quote(str(folder))}", sys.stderr)
    return EXIT_INTERRUPTED if processes.interrupted else exit_code_of(manifest_at_end.runs)


def report_sweep(folder: Path, manifest: Manifest) -> None:
    """Print the table, and write page and CSV. Raises ReportError."""
    rows = rows_of(manifest, folder)
    show("\n" + sweep_table(manifest, rows, terminal_width()) + "\n")
    show(write_text("Page", folder / PAGE, sweep_html(manifest, rows, manifest.tokenswarm_version)))
    show(write_text("CSV", folder / CSV, sweep_csv(manifest, rows)))


def _dry_run(plan: SweepPlan, cells: Sequence[SweepCell], checks: Sequence[CellCheck]) -> str:
    runs = list(_runs(plan, cells, checks))
    varied = list(dict.fromkeys(option for cell in cells for option in cell.values))
    columns = [
        TextColumn("cell", [str(number) for number in range(1, len(cells) + 1)]),
        *(TextColumn(option, [cell.texts.get(option, "") for cell in cells], left=True) for option in varied),
        TextColumn("one run", [_length(check.planned_s) for check in checks]),
    ]
    order = f" {plan.repeat} times, in the order 1 2 … 1 2 …" if plan.repeat > 1 else ""
    what = f"{units.counted(len(cells), 'cell')}{order}: {units.counted(len(runs), 'run')}. {_total(runs)}"
    shared = shlex.join(plan.cell_words(SweepCell({})))
    return "\n".join([*grid_lines(columns), "", what, *([f"Options of all: {shared}"] if shared else [])])


def _run_lines(runs: Sequence[SweepRun]) -> list[str]:
    return [f"Run {run.number}: {_run_text(run)}; {_length(run.planned_s)}" for run in runs]


def _run_text(run: SweepRun) -> str:
    return f"cell {run.cell}{f' ({run.name})' if run.name else ''}, repeat {run.repeat}"


def _total(runs: Sequence[SweepRun]) -> str:
    """How long these runs take at least."""
    known_s = sum(run.planned_s or 0.0 for run in runs)
    is_open = any(run.planned_s is None for run in runs)
    if not known_s:
        return "How long it takes is not known before."
    more = " and runs whose end is open" if is_open else ""
    about = f"About {units.length_of_time(round(known_s))}{more}"
    return f"{about} to go, not counting starts and the time in which streams end."


def _length(planned_s: float | None) -> str:
    return "open" if planned_s is None else units.length_of_time(planned_s)


def _own_flags() -> list[str]:
    return [flag for action in _parser()._actions for flag in action.option_strings if flag.startswith("--")]
