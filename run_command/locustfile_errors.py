"""What is said where a locustfile of the user's own cannot be loaded, or holds no users: one sentence and exit code 2.

It imports none of Tokenswarm's packages: see locust_process.py, which runs it as a file.
"""

from __future__ import annotations

import inspect
import logging
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

_EXIT_UNUSABLE = 2
#: Locust's method that looks at the weights of user classes.
_WEIGHED = "_remove_user_classes_with_weight_zero"
_LOADER = str(Path("util") / "load_locustfile.py")
#: Where no code of the user's lies: Python, and what is installed.
_NOT_OWN = (*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen")
_NO_USERS = (
    "this locustfile has no user class, so there is nothing to run: derive one from tokenswarm.StreamingUser "
    "(docs/python-api.md), or leave -f out."
)
_NO_OPTIONS = (
    "unrecognized arguments: {}. This locustfile imports no user class of Tokenswarm, so only Locust's own options "
    "are known: derive your users from tokenswarm.StreamingUser (docs/python-api.md), or leave -f out."
)


def explain() -> None:
    """From here on, in this process."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sentence = load_error(error, trace) or weight_error(trace)
        if not sentence:
            before(kind, error, trace)
            return
        _end(sentence)

    sys.excepthook = hook
    logging.getLogger("locust.main").addFilter(_refuse_classes)


def explain_options(parser: Any, **_: Any) -> None:
    """At Locust's init_command_line_parser. A locustfile that imports no user class of Tokenswarm's leaves its options
    unknown, and Locust would suggest others."""
    refuse = parser.error

    def error(message: str) -> None:
        reason, colon, words = message.partition("unrecognized arguments: ")
        if reason or not colon or "tokenswarm" in sys.modules:
            refuse(message)
        _end(_NO_OPTIONS.format(words))

    parser.error = error


def load_error(error: BaseException, trace: TracebackType | None) -> str:
    """A sentence on an error of a locustfile that was being loaded, with its place in the user's own code; "" for any
    other error."""
    frames = list(_frames(trace))
    loading = [number for number, (frame, _) in enumerate(frames) if frame.f_code.co_filename.endswith(_LOADER)]
    if not loading or not isinstance(error, Exception):
        return ""
    loader = frames[loading[0]][0]
    own = [(frame.f_code.co_filename, line) for frame, line in frames[loading[-1] + 1 :] if _is_own(frame)]
    place = _place(*own[-1]) if own else _unmade_class(frames[loading[-1]][0]) or str(loader.f_locals.get("path", ""))
    text = str(error)
    if isinstance(error, SyntaxError) and Path(error.filename or "").is_file():
        place, text = _place(error.filename or "", error.lineno or 0), error.msg
    what = f"{type(error).__name__}: {text}".splitlines()[0].rstrip(".: ")
    return f"the locustfile cannot be loaded: {place}: {what}. Mend it there, and start again."


def exit_while_loading(error: SystemExit) -> str:
    """A sentence where code of the user's own ended the program while its locustfile was being loaded; "" where it is
    ended otherwise, as by Tokenswarm, whose code says why, or by Ctrl-C."""
    frames = list(_frames(error.__traceback__))
    loading = [number for number, (frame, _) in enumerate(frames) if frame.f_code.co_filename.endswith(_LOADER)]
    if not loading:
        return ""
    inner = frames[loading[-1] + 1 :]
    own = [number for number, (frame, _) in enumerate(inner) if _is_own(frame)]
    if not own or any(_is_ours(frame) for frame, _ in inner[own[-1] :]):
        return ""
    frame, line = inner[own[-1]]
    text = "" if error.code is None else str(error.code)
    what = f"SystemExit: {text}".splitlines()[0].rstrip(".: ")
    return (
        f"the locustfile ends the program while it is loaded: {_place(frame.f_code.co_filename, line)}: {what}. Leave "
        'that out, or put it under if __name__ == "__main__":, and start again.'
    )


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_own(frame: FrameType) -> bool:
    return not _is_ours(frame) and not frame.f_code.co_filename.startswith(_NOT_OWN)


def _is_ours(frame: FrameType) -> bool:
    """Whether it is code of Tokenswarm's; locust_process.py runs the handler of Ctrl-C as a file."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package == "tokenswarm" or Path(frame.f_code.co_filename).name == "early_interrupt.py"


def _place(file: str, line: int) -> str:
    return f"{file}, line {line}"


def _unmade_class(frame: FrameType) -> str:
    """Where the class begins of which Locust was making an object: a load shape's."""
    made = frame.f_locals.get("value")
    try:
        return _place(inspect.getsourcefile(made) or "", inspect.getsourcelines(made)[1])  # type: ignore[arg-type]
    except (TypeError, OSError):
        return ""


def weight_error(trace: TracebackType | None) -> str:
    """A sentence on user classes whose weights Locust could not use; "" for an error of another place. Where the
    locustfile imports Tokenswarm, shapes/class_weights.py has refused them before."""
    frames = [frame for frame, _ in _frames(trace) if frame.f_code.co_name == _WEIGHED]
    if not frames:
        return ""
    weights = ", ".join(f"{each.__name__} has {each.weight!r}" for each in frames[0].f_locals["self"].user_classes)
    return (
        f"the weights of the user classes cannot be used: {weights}. Give each a number, and one of them more than 0."
    )


def _refuse_classes(record: logging.LogRecord) -> bool:
    if record.msg == "No User class found!":
        _end(_NO_USERS)
    unknown, is_unknown, names = str(record.msg).partition("Unknown User(s): ")
    if not unknown and is_unknown:
        _end(f"this locustfile has no user class {names.strip()}; it has {', '.join(_known_classes())}.")
    return True


def _known_classes() -> list[str]:
    """Those of the locustfile, which Locust's main function has while it logs."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and "available_user_classes" not in frame.f_locals:
        frame = frame.f_back
    return sorted(frame.f_locals["available_user_classes"]) if frame is not None else []


def _end(sentence: str) -> None:
    if sys.stderr is not None:
        print(f"tokenswarm: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(_EXIT_UNUSABLE)
