"""`tokenswarm run OPTIONS`: a run without the page, from any folder. `tokenswarm web OPTIONS`: with it.

Both hand the process over to Locust with Tokenswarm's locustfile: signals, exit codes and output are those of a run.
What takes seconds to import is imported for --help and --dry-run alone, as Locust's process imports it again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

_RUN_HEAD = """Usage: tokenswarm run -H http://HOST:PORT [options]

Runs a load test, prints its table and leaves a folder under results/. Without -H a simulated server is started for the
run. It is the same as `locust --headless` with Tokenswarm's locustfile, and takes all of Locust's options as well.

  -f FILE                   run user classes of your own (docs/python-api.md)
  --dry-run                 describe what the run would do and send, and end
  --json                    the same as --print-summary: print summary.json on standard output when the run is over,
                            and all else on standard error; with --dry-run, print the description as JSON
  --quiet                   no plan and no progress lines: warnings, the table and where the results are
"""
_WEB_HEAD = """Usage: tokenswarm web -H http://HOST:PORT [options]

Serves the page on which runs are started and watched, at http://localhost:8089. It is the same as `locust` with
Tokenswarm's locustfile, or with one of your own (-f FILE), and takes all of Locust's options as well. The options set
what the page's form shows first.
"""
_FOOT = """Each option can be given as an environment variable (TOKENSWARM_MAX_TOKENS for --max-tokens, LOCUST_USERS for
--users) and in Locust's configuration files. The API key is no option: it is read from LLM_API_KEY.
All options with examples: docs/options.md. Locust's other options: locust --help.
"""
#: What stands for an option of Locust's parser.
_LONG_FORMS = {"--json": ("--print-summary",), "--quiet": ("--loglevel", "WARNING")}
_SWITCHES = frozenset(("--dry-run", "--json", "--quiet"))
#: What users write behind a switch.
_BOOLEANS = frozenset(("yes", "no", "true", "false", "on", "off", "1", "0"))
_HELP = frozenset(("-h", "--help"))
_EXIT_UNUSABLE = 2
#: run_control/early_interrupt.py answers them.
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

Execute = Callable[[str, list[str]], None]


def run(words: Sequence[str], execute: Execute | None = None) -> int:
    """Do what these words say. Returns the exit code of --help and --dry-run; a run takes this process over."""
    given = list(words)
    if _HELP & set(given):
        return _show_help(_RUN_HEAD)
    if wrong := [*_valued_switches(given), *_undescribed(given)]:
        return _refuse("run", wrong)
    if "--dry-run" in given:
        return _describe(given)
    return _hand_over(_headless(given), execute)


def command_of_run(words: Sequence[str]) -> list[str]:
    """The command that `tokenswarm run` with these options hands its process over to."""
    return locust_command(_headless(words))


def _headless(words: Sequence[str]) -> list[str]:
    return ["--headless", *(each for word in words for each in _LONG_FORMS.get(word, (word,)))]


def serve(words: Sequence[str], execute: Execute | None = None) -> int:
    """The same for the page."""
    if _HELP & set(words):
        return _show_help(_WEB_HEAD, of_page=True)
    return _hand_over(list(words), execute)


def _valued_switches(words: Sequence[str]) -> Iterator[str]:
    """A sentence for each switch of this command's own with a value: Locust's parser knows none of them."""
    for place, word in enumerate(words):
        option, is_joined, value = word.partition("=")
        if not is_joined:
            value = next(iter(words[place + 1 : place + 2]), "")
        if option in _SWITCHES and (is_joined or value.lower() in _BOOLEANS):
            yield f"{option} takes no value, got {value!r}."


def _names_locustfile(words: Sequence[str]) -> bool:
    """Whether a locustfile of the user's own is to be run."""
    return any(
        word.partition("=")[0] in ("-f", "--locustfile") or (word.startswith("-f") and word.endswith(".py"))
        for word in words
    )


def _undescribed(words: Sequence[str]) -> Iterator[str]:
    if "--dry-run" in words and _names_locustfile(words):
        yield "--dry-run describes what options say, and not the code of a locustfile: leave out one of it and -f."


def _refuse(command: str, sentences: Sequence[str]) -> int:
    for sentence in dict.fromkeys(sentences):
        print(f"tokenswarm {command}: {sentence}", file=sys.stderr)
    return _EXIT_UNUSABLE


def locustfile() -> Path:
    """Tokenswarm's own, in the checkout or the wheel."""
    return Path(__file__).resolve().parents[1] / "locustfile.py"


def locust_command(words: Sequence[str]) -> list[str]:
    """The command that runs Locust with these options. -P: a file `locust.py` is not taken for Locust."""
    own = [] if _names_locustfile(words) else ["-f", str(locustfile())]
    return [sys.executable, "-P", str(Path(__file__).with_name("locust_process.py")), *own, *words]


def _hand_over(words: list[str], execute: Execute | None) -> int:
    command = locust_command(words)
    execute = execute or execute_uninterrupted
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it was closed before the process began: `>&-`
            stream.flush()
    execute(command[0], command)
    return 0


def execute_uninterrupted(path: str, command: list[str]) -> None:
    """Let the command take this process over. Signals wait while Python imports Locust, which takes half a second, and
    would otherwise show a traceback; locust_process.py ends the wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    os.execv(path, command)  # noqa: S606  the program is our own


def _describe(words: list[str]) -> int:
    """What the run would go through and send. --quiet has no effect on that."""
    describe: Callable[[Sequence[str], str], int] = import_module("tokenswarm.workload.workload_command").run
    return describe([word for word in words if word not in ("--dry-run", "--quiet")], "tokenswarm run")


def _show_help(head: str, *, of_page: bool = False) -> int:
    import_module("tokenswarm.run_command.grouped_help").show_help(head, _FOOT, of_page=of_page)
    return 0
