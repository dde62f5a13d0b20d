"""Completes and checks the options of the command line and of the page's form, across all packages. No check changes
what a later run does."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

import tokenswarm.client.cache_options
import tokenswarm.client.length_options
import tokenswarm.client.session_options
import tokenswarm.shapes.shape_options
from tokenswarm.client.connection_options import keep_proxy_credentials, unused_proxy_notice
from tokenswarm.client.custom_headers import keep_values
from tokenswarm.client.server_address import base_url, origins_of, take_route
from tokenswarm.cluster.listening_ports import choose_ports
from tokenswarm.command_line import Given, OptionErrors, collect_errors
from tokenswarm.recording.journal import check_folders
from tokenswarm.recording.recording_options import folders_of
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.run_control.stray_words import check_user_classes
from tokenswarm.shapes.rate_options import is_open
from tokenswarm.users.run_lifecycle import check_options
from tokenswarm.web.web_options import WebOptions, turn_on_login

_MOST_EXIT_CODE = 255
#: Of worker processes on one machine. Locust forks any number of them, until the machine has no memory left.
_MOST_PROCESSES = 500


def complete_options(given: Given) -> None:
    """Fill in what follows from the options that were given. Raises PlanError, OptionErrors for those that exclude each
    other."""
    options = given.options
    with collect_errors() as errors:
        errors.of(check_user_classes, given)
        errors.of(_check_log_file, options)
        errors.of(_check_html_file, options)
        errors.of(_check_exit_code, options)
        errors.of(_check_processes, options)
        errors.of(_check_role, options)
        errors.of(keep_values, options)
        errors.of(keep_proxy_credentials, options)
        if not options.worker or is_open(options):
            errors.of(tokenswarm.shapes.shape_options.check_conflicts, options, given.sources)
            errors.of(tokenswarm.client.length_options.check_conflicts, options, given.sources)
            errors.of(tokenswarm.client.session_options.check_conflicts, options, given.sources)
            errors.of(tokenswarm.client.cache_options.check_conflicts, options, given.sources)
        errors.of(tokenswarm.shapes.shape_options.choose_shape, options)
        turn_on_login(options)
        if options.print_stats:  # beside it, this default would be obeyed
            options.only_summary = False
        if options.host:
            errors.of(_take_host, options)


def _check_log_file(options: Namespace) -> None:
    """Locust opens it, and waits until somebody reads it. Raises OptionErrors."""
    path = Path(options.logfile or "")
    if path.is_fifo():
        raise OptionErrors(
            [
                f"--logfile takes a file, but {path} is a pipe, whose reader could hold up the run: name a file, or "
                "leave it out and read the standard error."
            ]
        )
    if _is_device(path):
        raise OptionErrors([f"--logfile takes a file, but {path} is a device: name a file, or leave it out."])
    if options.logfile and (reason := _why_not_appended(path)):
        raise OptionErrors([f"--logfile {path} cannot be written ({reason}); name another file."])


def _why_not_appended(path: Path) -> str | None:
    """Why no file can be written there; None where one can. A file that is not there yet is not left behind."""
    try:
        path.open("x").close()
        path.unlink()
    except FileExistsError:
        return _why_not_opened(path)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _why_not_opened(path: Path) -> str | None:
    try:
        path.open("a").close()
    except OSError as error:
        return error.strerror
    return None


def _check_html_file(options: Namespace) -> None:
    """Locust writes it at a run's end, and ends with a traceback where it cannot. Raises OptionErrors."""
    path = Path(options.html_file or "")
    if options.html_file and (path.is_dir() or _is_device(path)):
        kind = "folder" if path.is_dir() else "device"
        raise OptionErrors([f"--html takes a file, but {path} is a {kind}: name a file, or leave it out."])


def _is_device(path: Path) -> bool:
    """The null device is as good as a file: what it takes is dropped."""
    return str(path) != os.devnull and (path.is_char_device() or path.is_block_device())


def _take_host(options: Namespace) -> None:
    """Raises UnusableUrl."""
    take_route(options, options.host)
    origins_of(options.host)
    options.host = base_url(options.host)


def shows_stats_tables(given: Given) -> bool:
    """Whether Locust's own tables of requests are to be printed at the end."""
    return bool(given.options.print_stats) or "only_summary" in given.sources


def check_command_line(given: Given) -> list[str]:
    """Everything that can be wrong with the options of a process that leads runs, and choose free ports where none were
    given. Returns sentences to log about these. Raises ValueError."""
    options = given.options
    with collect_errors() as errors:
        notices = errors.of(choose_ports, given)
        errors.of(_check_effects, given)
        errors.of(check_run, options, options.host or "")
        if not options.headless:
            errors.of(WebOptions.of, options)
    notices = notices or []
    if options.host and not options.proxy:
        notices += filter(None, map(unused_proxy_notice, origins_of(options.host)))
    return notices


def check_run(options: Namespace, host: str) -> RunPlan:
    """Everything that can be wrong with the options of a run, but for its server. Raises ValueError."""
    with collect_errors() as errors:
        plan = errors.of(RunPlan.of, options)
        errors.of(check_folders, *folders_of(options))
        errors.of(check_options, options, host)
    return plan


def _check_processes(options: Namespace) -> None:
    """Locust would end with exit code 1, or fork without a limit. Raises OptionErrors."""
    if options.processes is not None and not -1 <= options.processes <= _MOST_PROCESSES:
        raise OptionErrors(
            [
                f"--processes takes a number of worker processes up to {_MOST_PROCESSES}, or -1 for one on each core, "
                f"got {options.processes:,}; the number of users is -u."
            ]
        )


def _check_role(options: Namespace) -> None:
    """Locust would end with exit code 1 or 255. Raises OptionErrors."""
    if options.master and options.worker:
        raise OptionErrors(["--master and --worker exclude each other: start the master and each worker on their own."])
    if options.master and options.processes:
        raise OptionErrors(["--master has no effect beside --processes, which starts a master itself: leave it out."])


def _check_exit_code(options: Namespace) -> None:
    """A process ends with a byte: of 256, nothing would be left. Raises OptionErrors."""
    code = getattr(options, "exit_code_on_error", 1)
    if not 0 <= code <= _MOST_EXIT_CODE:
        raise OptionErrors([f"--exit-code-on-error takes a number from 0 to {_MOST_EXIT_CODE}, got {code}."])


def _check_effects(given: Given) -> None:
    """Refuse an option that would have no effect without, or beside, another. Raises OptionErrors."""
    options, sources = given.options, given.sources
    idle = []
    if "slo_share" in sources and not options.slo:
        idle.append(f"{sources['slo_share']} has no effect without --slo: give --slo, or leave it out.")
    if "web_password_file" in sources and options.headless:
        idle.append(f"{sources['web_password_file']} has no effect beside --headless: leave one of them out.")
    if idle:
        raise OptionErrors(idle)
