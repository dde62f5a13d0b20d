"""Why the figures of a run may be unreliable. Every table, chart and page shows these lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.stats.failures import commonest_error
from tokenswarm.reports.stats.prompt_reuse import prompt_notices
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import IssueKind, LevelSummary, Validity
from tokenswarm.run_folder.worker_events import WorkerEventKind
from tokenswarm.sanitize import BASIC_CHALLENGE, FORBIDDEN, SENT_WITH, UNAUTHORIZED, SentKey, is_secret_name, key_advice

_STATUS = {
    "running": "NOT ENDED: the run had not ended when this was written, so these figures may still change",
    "interrupted": "INTERRUPTED: the run was stopped before all levels were over",
    "recovered": "RECOVERED: the run did not come to its end, and was rebuilt from what its processes left",
}
#: After such an event, a worker takes part no more.
_GONE = {WorkerEventKind.LEFT, WorkerEventKind.LOST, WorkerEventKind.EXPELLED}
_BETWEEN_SENTENCES = re.compile(r"\. (?=[A-Z])")
#: In the evidence of a server's engine: another one was given.
_ENGINE_CONFLICT = ", but the server looks like "


def warnings_of(results: Results) -> list[str]:
    """One sentence for each reason why the figures may be unreliable, its first words in capitals."""
    found = [f"{_STATUS[results.status]}{_who_left(results)}."] if results.status in _STATUS else []
    if results.status == "failed":
        found.append(f"FAILED: {_failure(results)}.")
    validity, accounting = results.summary.validity, results.summary.accounting
    if validity.verdict != "valid" and (reasons := other_reasons(results)):
        found += [f"SUSPECT: {reason}." for reason in reasons]
    found += [f"ONE CORE IS NOT ENOUGH: {hint}." for hint in results.summary.hints]
    if (
        not accounting.complete
        and accounting.ended == accounting.recorded == accounting.rows
        and accounting.unaccounted
    ):
        found.append(
            f"REQUESTS UNACCOUNTED FOR: {units.counted(accounting.rows, 'request')} ended, all in these figures; how "
            f"{units.count(accounting.unaccounted)} more ended, in flight at the last report of their worker, is not "
            "known."
        )
    elif not accounting.complete:
        found.append(
            f"REQUESTS UNACCOUNTED FOR: {units.counted(accounting.ended, 'request')} ended on workers, "
            f"{units.count(accounting.recorded)} recorded, {units.counted(accounting.rows, 'row')} written: some "
            "requests are missing from these figures or counted twice."
        )
    if results.files_missing:
        no_requests = "; --slo, --as, --parquet and --hlog are not possible" if results.requests_missing else ""
        found.append(
            f"FILES INCOMPLETE: {results.files_missing}: figures are from summary.json alone{no_requests}. Charts on "
            "the page show only the rows that are left."
        )
    found += prompt_notices(results)
    found += [f"ADAPTED: {clause}." for clause in results.run.requests.get("adapted", ())]
    found += [f"PREFLIGHT: {notice}." for notice in results.run.requests.get("notices", ())]
    for level in results.summary.levels:
        if level.sessions is not None and level.sessions.ran_dry_s is not None:
            found.append(
                f"OUT OF SESSIONS: {level_name(level)}: the load ended after "
                f"{units.duration(level.sessions.ran_dry_s)}, when the first user had no further session of --prompts "
                "to begin (--session-supply once)."
            )
    cut_short = [level for level in results.summary.levels if not level.complete]
    if cut_short:
        found.append(f"NOT COMPLETE: these levels were stopped early: {_list(cut_short)}.")
    if results.not_run:
        found.append(f"NOT RUN: the run ended before these levels: {_list(results.not_run)}.")
    return found


def _who_left(results: Results) -> str:
    """The end of the sentence on an interrupted run whose workers, of other machines, have all left; "" of another."""
    summary = results.summary
    last = {event.worker: event for event in summary.events}
    gone = [last[each.worker] for each in summary.workers if each.worker in last and last[each.worker].event in _GONE]
    if results.status != "interrupted" or not gone or len(gone) < len(summary.workers):
        return ""
    if results.run.options.get("processes"):  # Ctrl-C ends those with their master
        return ""
    return f": its last worker ({max(gone, key=lambda event: event.time_s).name}) left"


def grouped_reasons(validity: Validity) -> list[str]:
    """The reasons of a verdict, one that is true of several levels or workers once, with all of them; a sentence that
    several share, such as what to do, stands in the first."""
    if len(validity.issues) != len(validity.reasons):  # of an older folder
        return _each_sentence_once(validity.reasons)
    places: dict[tuple[str, str], list[str]] = {}
    for issue, reason in zip(validity.issues, validity.reasons, strict=True):
        where = reason.removesuffix(issue.message).removesuffix(": ")
        places.setdefault((issue.kind, issue.message), []).append(where)
    return _each_sentence_once(
        [f"{_and_others(where)}: {message}" if any(where) else message for (_, message), where in places.items()]
    )


def _and_others(places: Sequence[str]) -> str:
    """`2, 4, 8 users without system prompt`: a common end of the names stands once."""
    tails = {place.partition(" ")[2] for place in places}
    if len(places) > 1 and len(tails) == 1 and all(place[:1].isdigit() for place in places):
        return f"{', '.join(place.partition(' ')[0] for place in places)} {tails.pop()}"
    return ", ".join(places)


def other_reasons(results: Results) -> list[str]:
    """Why the figures are unreliable, without the reason that the run failed, which stands before."""
    validity = results.summary.validity
    failed = {issue.message for issue in validity.issues if issue.kind == IssueKind.RUN_FAILED}
    if results.status == "failed" and set(validity.reasons) <= failed:
        return []
    reasons = [reason for reason in grouped_reasons(validity) if reason not in failed or results.status != "failed"]
    return [reason.rstrip(".") for reason in reasons] or ["no reason was recorded"]


def _each_sentence_once(reasons: Sequence[str]) -> list[str]:
    """The reasons without sentences that stand in one before, such as what to do; a first sentence always stays."""
    known: set[str] = set()
    found = []
    for reason in reasons:
        first, *others = _BETWEEN_SENTENCES.split(reason)
        found.append(". ".join([first, *(sentence for sentence in others if sentence not in known)]))
        known.update(others)
    return found


def _failure(results: Results) -> str:
    """Why the run failed: what the server answered where no request was ok and the reason recorded does not say it,
    otherwise that reason."""
    reason = next(iter(results.summary.validity.reasons), "no reason was recorded").rstrip(".")
    if not any(level.whole.outcomes.get("ok") for level in results.summary.levels):
        with suppress(ReportError):
            if error := commonest_error(results):
                text, number = error
                outcomes = sum((Counter(level.whole.outcomes) for level in results.summary.levels), Counter[str]())
                measured = sum(level.whole.requests for level in results.summary.levels)  # without warm-ups
                of = units.counted(measured or results.summary.accounting.ended, "request")
                text = text.rstrip(".")
                if text not in reason:
                    failed = f'{units.count(number)} of {of} failed with "{text}"'
                    reason = f"{_none_ok(outcomes)}; {failed}"
                return f"{reason}. {advice}" if (advice := _advice(text, results)) else reason
    return reason


def _none_ok(outcomes: Mapping[str, int]) -> str:
    """What is true of a run without a request that was ok."""
    refused, ended = outcomes.get(Outcome.WRONG_ANSWER, 0), sum(outcomes.values())
    if not refused:
        return "no request was answered"
    return f"the locustfile's check refused every answer{'' if refused == ended else ' that came'}"


def _advice(error: str, results: Results) -> str:
    """What to do where most requests failed with this error, as a sentence without its full stop; "" where that is not
    known."""
    if error.startswith(("HTTP 400", "HTTP 404", "HTTP 405", "HTTP 422")):
        if conflict := next((each for each in results.run.engine_evidence if _ENGINE_CONFLICT in each), ""):
            return f"{conflict}: leave it out"
        return _model_advice(results) if "model" in error.lower() else ""
    if refused := next((status for status in (UNAUTHORIZED, FORBIDDEN) if error.startswith(f"HTTP {status}")), None):
        wants_password = error.startswith(f"HTTP {UNAUTHORIZED}: {BASIC_CHALLENGE}")
        model = str(results.run.options.get("model") or "")
        return key_advice(refused, _sent_key(results), model, wants_password)
    return ""


def _sent_key(results: Results) -> SentKey:
    """What authorised the requests; of older folders, only the options that are known are named."""
    known = results.run.requests.get(SENT_WITH)
    return SentKey(tuple(_key_options(results))) if known is None else msgspec.convert(known, SentKey)


def _key_options(results: Results) -> list[str]:
    """Options of the run by which it had a key, as messages name them: run.json keeps the names of headers alone."""
    options = results.run.options
    names = [str(header).partition(":")[0] for header in options.get("header") or ()]
    of_headers = [f"--header {name}" for name in names if is_secret_name(name)]
    return [*of_headers, "--header-file"] if options.get("header_file") else of_headers


def _model_advice(results: Results) -> str:
    options, sent = results.run.options, results.summary.model
    if options.get("models"):
        return f"Check --models {str(options['models'])!r}"
    if options.get("model"):
        return f"Check --model {str(options['model'])!r}"
    return f"Give --model: without it, requests named {sent!r}" if sent else "Give --model"


def _list(levels: list[LevelSummary] | tuple[Level, ...]) -> str:
    return ", ".join(level_name(level) for level in levels)
