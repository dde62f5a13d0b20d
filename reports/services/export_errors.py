"""Why a run could not be exported."""

from __future__ import annotations

from importlib.util import find_spec

from tokenswarm.run_folder.reader import ReportError
from tokenswarm.sanitize import server_text

_MOST_CHARACTERS = 300


class ExportFailed(ReportError):
    """A service could not be reached, or did not accept all of a run; the message is one sentence."""


def need_extra(name: str, extra: str, module: str) -> None:
    """Raises ReportError where the module that `--to name` needs is not installed."""
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would hold it
        found = False
    if not found:
        raise ReportError(
            f"--to {name} needs the extra {extra} of Tokenswarm, which is not installed: "
            f"pip install '.[{extra}]' in Tokenswarm's folder."
        )


def system_error(error: BaseException) -> str:
    """The system's own words for an error that libraries have wrapped several times; "" where it is none of the
    system's."""
    found = next((each for each in reversed(_chain(error)) if isinstance(each, OSError) and each.strerror), None)
    return _one_line(found.strerror or "") if found is not None else ""


def cause_of(error: BaseException) -> str:
    """The same; else the words of the innermost error, in one line without the full stop."""
    innermost = _chain(error)[-1]
    return system_error(error) or _one_line(str(innermost) or type(innermost).__name__)


def _chain(error: BaseException) -> list[BaseException]:
    """The error, and those within it: as its cause, its context, its argument or its reason."""
    found: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in found:
        found.append(inner)
        within = (getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__)
        inner = next((each for each in within if isinstance(each, BaseException)), None)
    return found


def _one_line(text: str) -> str:
    return server_text(" ".join(text.split()).rstrip("."), _MOST_CHARACTERS)
