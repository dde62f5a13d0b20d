"""Tokenswarm's package, and its command: what is done outside of a run of Locust.

In a checkout the packages are folders beside this file; `__path__` is where `import tokenswarm.users` finds them. In a
wheel this file is the package's `__init__.py`. Importing it loads nothing else: a
subcommand loads its module when it is called, and so does what a locustfile imports.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import sys
from importlib import import_module

TYPE_CHECKING = False  # as typing's, whose import is one of those that take time before Ctrl-C is handled
if TYPE_CHECKING:
    import argparse
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

    from tokenswarm.client.own_requests import OwnRequestError
    from tokenswarm.engines import ENGINES, EngineSpec, register_engine
    from tokenswarm.metrics.timeline import Outcome, Timeline
    from tokenswarm.prompts import register_prompts
    from tokenswarm.users.chat import ChatUser, SystemPromptChatUser
    from tokenswarm.users.run_events import events
    from tokenswarm.users.stream_response import StreamFailed, StreamResponse
    from tokenswarm.users.streaming_user import StreamingUser

#: Of numpy's products, which reads this when it is imported: more threads would spin for 0.1 s after each product of
#: long series, on processors that send load and serve beside this process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_EXIT_SIGINT = 130
_ENDED = "tokenswarm: ended with Ctrl-C."
#: As in command_line/exit_codes.py, which is not imported yet.
_EARLY = (4, "tokenswarm: interrupted before the run began: nothing was measured")
#: By name of the command that ends otherwise than with _EXIT_SIGINT and _ENDED: its exit code, and what is printed.
_INTERRUPTED = {"run": _EARLY, "web": _EARLY, "sweep": _EARLY, "simulate": (0, _ENDED)}
#: They keep the handler, and then have signals wait: see run_command.
_HANDED_OVER = ("run", "web")


def _open_standard_error() -> None:
    """Where it was closed before the process began (`2>&-`), Python has None for it, and `print` takes the standard
    output instead, whose text another program may read; a file of the run's own could get its number, too."""
    if sys.stderr is not None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    number = fcntl.fcntl(nowhere, fcntl.F_DUPFD, 2)  # 2, unless another file has it by now
    os.close(nowhere)
    os.set_inheritable(number, number == 2)
    sys.stderr = open(number, "w", encoding="utf-8")  # noqa: PTH123, SIM115  open for good


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C while Python imports a command. An exception would show Python's traceback, or become one of the library
    that is being imported."""
    code, sentence = _INTERRUPTED.get(_called(sys.argv[1:]) or "", (_EXIT_SIGINT, _ENDED))
    if sys.stderr is not None:  # it was closed before the process began: `2>&-`
        try:  # noqa: SIM105  contextlib takes time
            os.write(sys.stderr.fileno(), f"{sentence}\n".encode())
        except (OSError, ValueError):
            pass
    os._exit(code)


def _handle_early_interrupts() -> None:
    """Once this file is imported as the command, and not by a locustfile. An ignored signal stays ignored (`nohup`)."""
    if os.path.basename(sys.argv[0]) not in ("tokenswarm", "tokenswarm.py"):  # noqa: PTH119
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
        # While Python takes the process apart, there is nothing left to interrupt.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _raise_interrupts() -> None:
    """The command is imported: from here on, Ctrl-C is its own to handle."""
    # By name, for this file is imported twice where it is itself the program.
    if getattr(signal.getsignal(signal.SIGINT), "__name__", "") == _end_at_once.__name__:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _called(arguments: list[str]) -> str | None:
    return next((word for word in arguments if not word.startswith("-")), None)


_open_standard_error()  # before anything is said
_handle_early_interrupts()  # before all that takes time

#: What locustfiles import; the rest of the package may change at any time.
__all__ = [
    "ENGINES",
    "ChatUser",
    "EngineSpec",
    "Outcome",
    "OwnRequestError",
    "StreamFailed",
    "StreamResponse",
    "StreamingUser",
    "SystemPromptChatUser",
    "Timeline",
    "events",
    "register_engine",
    "register_prompts",
]
__path__ = [os.path.dirname(__file__)]  # noqa: PTH120  pathlib takes time

#: By name: the module that has `add_arguments` and `main`, and a line of help.
_COMMANDS = {
    "run": ("tokenswarm.run_command.run_command", "load a server, and report TTFT and token rate"),
    "web": ("tokenswarm.run_command.web_command", "serve the page on which runs are started and watched"),
    "simulate": ("tokenswarm.simulator.cli", "start the simulator, a server that answers at a known speed"),
    "probe": (
        "tokenswarm.probe.probe_command",
        "send a few requests to a server, and report what it is and how it answers",
    ),
    "workload": (
        "tokenswarm.workload.workload_command",
        "describe what a run with these options would send, without a server",
    ),
    "report": ("tokenswarm.reports.report_command", "show a finished run again: its table, page and charts"),
    "sweep": ("tokenswarm.sweep.sweep_command", "run every combination of some options, resumable, on one page"),
    "runs": ("tokenswarm.reports.runs_command", "list the runs of a folder; name and tag them"),
    "kube": ("tokenswarm.kube.kube_command", "run as a Job in a Kubernetes cluster; its log, results and exit code"),
    "upload": (
        "tokenswarm.reports.upload_command",
        "copy the results folder of a run to a store, such as s3://bucket/prefix",
    ),
    "recover": (
        "tokenswarm.reports.recover_command",
        "complete the results folder of a run whose processes were killed",
    ),
    "compare": (
        "tokenswarm.reports.compare.compare_command",
        "compare runs of several servers at each level, with confidence intervals",
    ),
    "trend": (
        "tokenswarm.reports.compare.trend_command",
        "show one server's runs over time, and which of them departed from a baseline",
    ),
    "gate": (
        "tokenswarm.reports.compare.gate_command",
        "fail if new runs are worse than earlier ones by more than chance explains",
    ),
}


_DESCRIPTION = (
    "Stress tests for servers that stream text from LLMs. Each command has a --help of its own; `locust` with "
    "Tokenswarm's locustfile.py is the same as `tokenswarm run` and `tokenswarm web`."
)


#: What locustfiles import, by name: the module that has it. docs/python-api.md explains each.
_API = {
    "StreamingUser": "tokenswarm.users.streaming_user",
    "StreamResponse": "tokenswarm.users.stream_response",
    "StreamFailed": "tokenswarm.users.stream_response",
    "OwnRequestError": "tokenswarm.client.own_requests",
    "ChatUser": "tokenswarm.users.chat",
    "SystemPromptChatUser": "tokenswarm.users.chat",
    "events": "tokenswarm.users.run_events",
    "Timeline": "tokenswarm.metrics.timeline",
    "Outcome": "tokenswarm.metrics.timeline",
    "register_prompts": "tokenswarm.prompts",
    "register_engine": "tokenswarm.engines",
    "ENGINES": "tokenswarm.engines",
    "EngineSpec": "tokenswarm.engines",
}
#: Those with which a locustfile becomes one of Tokenswarm's: its options, its recording and its page come with them.
_USERS = ("StreamingUser", "ChatUser", "SystemPromptChatUser")

_NOT_THERE = (
    "{} cannot be imported. A locustfile imports "
    f"{', '.join(sorted(_API))} from tokenswarm (docs/python-api.md); all else in it may change at any time."
)
_PARTIAL = (
    "unrecognized arguments: {}. This locustfile imports only a part of Tokenswarm, without its options: import its "
    "users with `from tokenswarm import StreamingUser`, or ChatUser (docs/python-api.md)."
)
_NO_USERS = (
    "No User class found: this locustfile imports Tokenswarm, but has no user class. Derive one from "
    "tokenswarm.StreamingUser, or write `from tokenswarm import ChatUser, SystemPromptChatUser` (docs/python-api.md)."
)
_NOT_MEASURED = (
    "this locustfile imports only a part of Tokenswarm, and nothing that its users would send is recorded: derive one "
    "of them from tokenswarm.StreamingUser (docs/python-api.md), or import nothing from tokenswarm."
)
_LOCUSTS_NO_USERS = "No User class found!"
_EXIT_UNUSABLE = 2
#: Those of `tokenswarm` itself: others belong to a command, and stand behind it.
_OWN_OPTIONS = ("-h", "--help", "--version")


class NotInApi(ImportError):
    """Code of a user's own imports what is not for it."""


def __getattr__(name: str) -> Any:
    """What locustfiles import is loaded when they do. Another class gets a sentence instead of Python's own error."""
    if name in _API:
        if name in _USERS:
            import_module("tokenswarm.run_control.composition")
        return getattr(import_module(_API[name]), name)
    if name[:1].isupper():
        raise NotInApi(_NOT_THERE.format(name))
    raise AttributeError(f"module 'tokenswarm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])


def bare_import(package: str) -> NotInApi:
    """What each package raises where its name is imported without Tokenswarm's before it."""
    return NotInApi(_NOT_THERE.format(f"the package {package}"))


def _explanation(error: BaseException, trace: TracebackType | None) -> str:
    """A sentence on an import from Tokenswarm's packages that failed in code of a user's own; "" for all else."""
    if isinstance(error, NotInApi):
        return f"{_place(trace)}{error}"
    first = trace
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    importer = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    if not isinstance(error, ImportError) or importer.partition(".")[0] == "tokenswarm":
        return ""
    if (error.name or "").partition(".")[0] != "tokenswarm":
        return ""
    wanted: str | None = getattr(error, "name_from", None)  # of Python 3.12
    if wanted is None:
        wanted = str(error).partition("cannot import name '")[2].partition("'")[0]
    return f"{_place(first)}{_NOT_THERE.format(f'{wanted} of {error.name}' if wanted else error.name)}"


def _place(trace: TracebackType | None) -> str:
    """The file and the line that import it, with a colon; "" for code of no file."""
    place = ""
    while trace is not None:
        file, module = trace.tb_frame.f_code.co_filename, str(trace.tb_frame.f_globals.get("__name__", ""))
        is_ours = module.partition(".")[0] == "tokenswarm" or _is_package_of_ours(file)
        if not (is_ours or file.startswith("<") or module.startswith("importlib")):
            place = f"{file}, line {trace.tb_lineno}: "
        trace = trace.tb_next
    return place


def _is_package_of_ours(file: str) -> bool:
    """Whether it is what raises `bare_import`."""
    from pathlib import Path

    path = Path(file).resolve()
    return path.name == "__init__.py" and path.parent.parent == Path(__file__).resolve().parent


def _explain_imports() -> None:
    """A locustfile's import from Tokenswarm that fails ends the process with one sentence, not with a traceback."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sentence = "" if hasattr(sys, "ps1") else _explanation(error, trace)
        if not sentence:
            before(kind, error, trace)
            return
        print(f"tokenswarm: {sentence}", file=sys.stderr)
        raise SystemExit(_EXIT_UNUSABLE)

    sys.excepthook = hook


def _explain_options(parser: Any, **_: Any) -> None:
    """At Locust's init_command_line_parser. Without Tokenswarm's locustfile.py, which declares its options and replaces
    `parse_args`, Locust would call them unrecognized and suggest others."""
    refuse = parser.error

    def error(message: str) -> None:
        reason, colon, words = message.partition("unrecognized arguments: ")
        if reason or not colon:
            refuse(message)
        _refuse(_PARTIAL.format(words))

    parser.error = error
    import_module("tokenswarm.run_command.taken_master_port").check_once(parser, _refuse)


def _refuse(sentence: str) -> NoReturn:
    print(f"tokenswarm: {sentence}", file=sys.stderr)
    raise SystemExit(_EXIT_UNUSABLE)


def _explain_missing_users(record: logging.LogRecord) -> bool:
    """A filter of Locust's log. Its own line does not say what a locustfile needs that imports Tokenswarm, and Locust
    would end with 1."""
    if record.msg == _LOCUSTS_NO_USERS:
        print(f"tokenswarm: {_NO_USERS}", file=sys.stderr)
        raise SystemExit(_EXIT_UNUSABLE)
    return True


def _refuse_unmeasured(environment: Any, **_: Any) -> None:
    """At Locust's init. Whoever imports names of Tokenswarm expects it to record. Where its own users run without the
    rest of it, users/chat.py has the sentence."""
    users = {each.__module__ for each in environment.user_classes}
    if "tokenswarm.run_control.composition" in sys.modules or "tokenswarm.users.chat" in users:
        return
    options = environment.parsed_options
    if not (getattr(options, "worker", False) and options.processes):  # the master that forked it says the same
        print(f"tokenswarm: {_NOT_MEASURED}", file=sys.stderr)
    raise SystemExit(_EXIT_UNUSABLE)


_explain_imports()
if "locust" in sys.modules:
    import logging

    sys.modules["locust"].events.init_command_line_parser.add_listener(_explain_options)
    sys.modules["locust"].events.init.add_listener(_refuse_unmeasured)
    logging.getLogger("locust.main").addFilter(_explain_missing_users)


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand. Returns its exit code: 2 for unusable arguments, and in place of 0 where its output was lost;
    the others are the subcommand's."""
    try:
        from tokenswarm.sanitize import guarded_output, is_output_lost

        with guarded_output():
            try:
                code = _main(sys.argv[1:] if arguments is None else arguments)
            except SystemExit as ended:  # as --help does
                _flush_output()
                if ended.code or not is_output_lost():
                    raise
                code = 0
            _flush_output()
            return code or (_EXIT_UNUSABLE if is_output_lost() else code)
    except KeyboardInterrupt:
        print(_ENDED, file=sys.stderr)
        return _EXIT_SIGINT


def _main(arguments: list[str]) -> int:
    from tokenswarm.command_line.command_parser import CommandParser

    parser = CommandParser(prog="tokenswarm", description=_DESCRIPTION)
    version = _version() if "--version" in arguments else ""
    parser.add_argument("--version", action="version", version=version, help="show the version and end")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    parsers = {
        name: commands.add_parser(name, help=text, description=text.capitalize() + ".")
        for name, (_, text) in _COMMANDS.items()
    }
    called = _called(arguments)
    first = next(iter(arguments), "").partition("=")[0]
    if first.startswith("-") and first not in _OWN_OPTIONS:
        command = called if called in _COMMANDS else "run"
        parser.refuse([f"{first} stands before the command: did you mean tokenswarm {command} {first} …?"])
    if called in _COMMANDS and first not in _OWN_OPTIONS:  # only its module is loaded: the others take seconds
        module = import_module(_COMMANDS[called][0])
        if called not in _HANDED_OVER:
            _raise_interrupts()
        if hasattr(module, "run"):  # it reads its words by itself, as `locust` does
            found: int = module.run(arguments[arguments.index(called) + 1 :])
            _flush_output()
            return found
        module.add_arguments(parsers[called])
    args, unknown = parser.parse_known_args(arguments)
    module, its_parser = import_module(_COMMANDS[args.command][0]), parsers[args.command]
    if errors := [*its_parser.errors, *its_parser.unknown(unknown)]:
        its_parser.refuse([*_wrong_in(module, args), *errors])
    code: int = module.main(args)
    return code


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"tokenswarm {version('tokenswarm')}"
    except PackageNotFoundError:
        return "tokenswarm, of unknown version: it is not installed as a package"


def _wrong_in(module: Any, args: argparse.Namespace) -> list[str]:
    """What else the command would refuse, as far as it can say so without reading a file."""
    from tokenswarm.command_line import collect_errors, sentences_of

    if not hasattr(module, "check"):
        return []
    try:
        with collect_errors() as errors:
            errors.of(module.check, args)
    except ValueError as error:
        return sentences_of(error)
    return []


def _flush_output() -> None:
    from tokenswarm.sanitize import report_lost_output

    try:
        if sys.stdout is not None:  # it was closed before the process began: `>&-`
            sys.stdout.flush()
    except OSError as error:
        report_lost_output(error, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
