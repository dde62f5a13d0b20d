"""Whether two runs put the same load on their servers: only then is a difference between them the servers'. Pure.

Engines, hosts and versions may differ: they are what a comparison is of.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tokenswarm.command_line import collect_errors, not_one_of
from tokenswarm.metrics.level import users_of
from tokenswarm.recording.prompt_notices import OWN_REUSE
from tokenswarm.reports import level_names, units
from tokenswarm.reports.level_names import level_name, times_in_words
from tokenswarm.reports.replay_text import replay_in_words
from tokenswarm.reports.stats.prompt_reuse import hit_ratio, hits_differ, reuse_of
from tokenswarm.reports.warnings import grouped_reasons
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import IssueKind, LevelSummary

_UNKNOWN = "unknown"
#: Of the value of a field in a body.
_VALUE_CHARACTERS = 60


class Setting(NamedTuple):
    """A setting of a run in words. content: what else must be the same, such as a fingerprint; it is never shown."""

    words: str
    content: str = ""


class NotComparable(NamedTuple):
    """A field in which two runs differ, and its value in either."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field} ({self.base} in the first run; {self.new} in another)"


def _option(name: str) -> Callable[[Results], Setting]:
    return lambda results: _in_words(results.run.options.get(name))


def _in_words(value: Any) -> Setting:
    return Setting(
        _UNKNOWN if value is None else "on" if value is True else "off" if value is False else str(value) or "none"
    )


def _model(results: Results) -> Setting:
    """The run's models with their shares; in a run without --model, rows of the prompts may name them."""
    words = _in_words(results.summary.model).words
    if results.run.mix.models:
        return Setting(words)
    of_rows = results.run.requests.get("row_models") and results.run.prompts.get("rows_with_model")
    return Setting(f"{words}, or the model that a row names" if of_rows else words)


def _prompts(results: Results) -> Setting:
    facts = results.run.prompts
    source = str(facts.get("source", _UNKNOWN))
    if "trace_format" in facts:  # wherever its file lies
        return Setting(f"trace {Path(source).name}", str(facts.get("fingerprint")))
    if facts.get("reuse") == OWN_REUSE:
        return Setting(source, str(facts.get("fingerprint")))
    of_source = f"{facts.get('count', _UNKNOWN)} from {_file_name(source)}"
    return Setting(source if "input" in _requested(results) else of_source, str(facts.get("fingerprint")))


def _requested(results: Results) -> str:
    """Which lengths the run requested: "input", "output", "input and output" or ""."""
    return str(results.run.prompts.get("requested_lengths") or "")


def _output_tokens(results: Results) -> Setting:
    """The requested lengths of answers; input notations may hold them, and are then in the prompts' fingerprint."""
    return Setting(str(results.run.options.get("output_tokens") or "none"))


def _system_prompt(results: Results) -> Setting:
    """Folders of format 1 do not hold its fingerprint."""
    if not any(level.system_prompt == "on" for level in results.run.plan):
        return Setting("none")
    folded = results.run.requests.get("adaptations", {}).get("system_in_prompt")
    words = "set, before the first user message" if folded else "set"
    return Setting(words, str(results.run.prompts.get("system_prompt_fingerprint")))


def _endpoint(results: Results) -> Setting:
    """Folders of older versions are of chat."""
    return Setting(results.run.requests.get("endpoint", "chat"))


def _body(results: Results) -> Setting:
    """The fields that the run's options merged into each body; none in folders of older versions."""
    body = results.run.requests.get("body", {})
    return Setting(_fields_in_words(body), str(results.run.requests.get("body_sha256")) if body else "")


def _hosts(results: Results) -> Setting:
    """How many hosts shared the load, whichever they are; folders of older versions are of one."""
    count = max(1, len(results.run.mix.hosts))
    return Setting(units.counted(count, "host"))


def _proxy(results: Results) -> Setting:
    return Setting(results.run.requests.get("proxy") or "none")


def _images(results: Results) -> Setting:
    """None in folders of older versions."""
    images = results.run.requests.get("images") or []
    words = ", ".join(f"{_file_name(image['source'])} ({image['width']}×{image['height']})" for image in images)
    return Setting(words or "none", " ".join(image["sha256"] for image in images))


def _fields_in_words(body: Mapping[str, Any]) -> str:
    words = ", ".join(f"{name} {_shortened(value)}" for name, value in sorted(body.items()))
    return words or "no fields of its own"


def _shortened(value: Any) -> str:
    text = "left out" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[: _VALUE_CHARACTERS - 1]}…"


def _bodies_apart(base: Results, new: Results) -> tuple[str, str]:
    """Of two bodies, the fields in which they differ, in words."""
    one, other = (results.run.requests.get("body", {}) for results in (base, new))
    missing = object()
    apart = {name for name in (*one, *other) if one.get(name, missing) != other.get(name, missing)}

    def words(body: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {_shortened(body[name]) if name in body else 'not set'}" for name in sorted(apart))

    return words(one), words(other)


def _chat_template(results: Results) -> Setting:
    name = results.run.chat_template
    return Setting("the server's own") if name is None else Setting(_file_name(name), name)


def _file_name(source: str) -> str:
    """The last part of a path; a name on the hub and a packaged source stay as they are."""
    return Path(source).name if source.startswith(("/", ".", "~")) else source


def levels_in_words(results: Results) -> str:
    """The planned levels: `10, 50 users without system prompt; 10 users with system prompt`."""
    return level_names.levels_in_words(results.run.plan)


def _arrivals(results: Results) -> Setting:
    """When requests are due in an open loop; its rates are in the levels' names, and those of a schedule here."""
    found = [level.arrivals for level in results.run.plan if level.arrivals is not None]
    if not found:
        return Setting("closed loop")
    first = found[0]
    limit = f", at most {first.max_in_flight:,} in flight" if first.max_in_flight else ""
    what = " of sessions" if first.sessions else ""
    if first.trace is not None:
        replay = msgspec.structs.replace(first.trace, path="")
        return Setting(f"{replay_in_words(first.trace)}{limit}", f"{first.file_sha256} {replay}")
    return Setting(
        f"{_file_name(first.process)}{what}{limit}", f"{first.file_sha256} {[arrivals.rates for arrivals in found]}"
    )


def _think_time(results: Results) -> Setting:
    """How long users wait between their requests; nothing in folders of older versions."""
    found = {level.think_time.notation for level in results.run.plan if level.think_time is not None}
    return Setting(", ".join(sorted(found)) or "none")


def _turns(results: Results) -> Setting:
    """How conversations were sent, and whose answers they carried; single requests in folders of older versions. How
    many turns there are is in the fingerprint of the prompts."""
    options, facts = results.run.options, results.run.prompts
    if options.get("turns") == "last" or not (facts.get("sessions") or options.get("turns")):
        return Setting("single requests")
    return Setting(f"sessions with {options.get('answers') or 'own'} answers")


def _warm_up(results: Results) -> Setting:
    """The load before each level; none in folders of older versions."""
    return Setting(str(results.run.options.get("warm_up") or "none"))


def _token_counts(results: Results) -> str:
    """Who counted output tokens: rates by usage and rates by events are not of one thing."""
    return " and ".join(
        sorted({name for level in results.summary.levels for name in level.whole.output_tokens_sources})
    )


def _levels(results: Results) -> Setting:
    """Of a capacity search what it searched: its levels follow from what it found."""
    search = results.summary.capacity_search
    if search is None:
        return Setting(levels_in_words(results) or _UNKNOWN)
    span = f"{search.low:g} and {search.high:g} {search.unit}"
    return Setting(f"a search between {span} with a precision of {units.set_share(search.precision)}")


def _level_time(results: Results) -> Setting:
    """Of a capacity search the longest time of a probe: each ends when it is decided."""
    if results.summary.capacity_search is None:
        return Setting(times_in_words(results.run.plan))
    level_time, ramp = (str(results.run.options.get(name) or _UNKNOWN) for name in ("level_time", "ramp"))
    return Setting(f"probes of {level_time} at most, of which ramp {ramp}")


#: What two runs must have in common, by the name that --allow takes.
FIELDS: dict[str, Callable[[Results], Setting]] = {
    "model": _model,
    "prompts": _prompts,
    "prompt_tokens": _option("prompt_tokens"),
    "prompt_reuse": lambda results: Setting(reuse_of(results)),
    "prefix": lambda results: Setting(str(results.run.options.get("prefix") or "none")),
    "cache": lambda results: Setting(str(results.run.options.get("cache") or "share")),
    "chat_template": _chat_template,
    "system_prompt": _system_prompt,
    "endpoint": _endpoint,
    "body": _body,
    "images": _images,
    "hosts": _hosts,
    "proxy": _proxy,
    "max_tokens": _option("max_tokens"),
    "output_tokens": _output_tokens,
    "ignore_eos": _option("ignore_eos"),
    "shape": lambda results: Setting(results.run.shape or _UNKNOWN),
    "levels": _levels,
    "arrivals": _arrivals,
    "think_time": _think_time,
    "turns": _turns,
    "longest_delay": lambda results: Setting(str(results.run.options.get("longest_delay") or "as recorded")),
    "abandon": lambda results: Setting(str(results.run.options.get("abandon") or "none")),
    "warm_up": _warm_up,
    "level_time": _level_time,
    "token_counts": lambda results: Setting(_token_counts(results)),
}
#: The field of prefix-cache hits, which two runs have in common where they are about equal.
PREFIX_HITS = "prefix_hits"
#: All that --allow takes but SUSPECT.
FIELD_NAMES = (*FIELDS, PREFIX_HITS)
#: The field of --allow that lets runs pass that are unreliable by themselves.
SUSPECT = "suspect"


def differences(base: Results, new: Results, allowed: Collection[str] = ()) -> list[NotComparable]:
    """The fields in which two runs differ, but for those that are allowed to."""
    found = [
        NotComparable(name, *_bodies_apart(base, new)) if setting_of is _body else _unlike(name, one, other)
        for name, setting_of in FIELDS.items()
        if name not in allowed
        and (one := setting_of(base)) != (other := setting_of(new))
        and (one.words and other.words)  # a run without an answer has counted no tokens
    ]
    if PREFIX_HITS not in allowed and (apart := _apart(base, new, "off")):
        found.append(NotComparable(PREFIX_HITS, *(_hits(levels) for levels in zip(*apart, strict=True))))
    return found


def _unlike(field: str, base: Setting, new: Setting) -> NotComparable:
    """Where the words are the same the content is not."""
    return NotComparable(
        field, base.words, new.words if base.words != new.words else f"{new.words}, with other content"
    )


def prefix_hit_notices(base: Results, new: Results) -> list[str]:
    """A sentence for each level with a system prompt at which the servers' prefix-cache hits differ: with one they may,
    as it is what a cache is for, but TTFT is then not of equal work."""
    return [
        f"PREFIX-CACHE HITS DIFFER at {level_name(two)}: {units.percentage(hit_ratio(one))} and "
        f"{units.percentage(hit_ratio(two))} of the prompt tokens came from the cache, so that a difference in TTFT "
        "may be the cache's."
        for one, two in _apart(base, new, "on")
    ]


def _apart(base: Results, new: Results, system_prompt: str) -> list[tuple[LevelSummary, LevelSummary]]:
    """The levels of a mode that both runs have, and whose hit ratios are too far apart."""
    reuse = "never" if reuse_of(base) == reuse_of(new) == "never" else "always"
    in_base = {(level.level, level.system_prompt): level for level in base.summary.levels}
    return [
        (found, level)
        for level in new.summary.levels
        if level.system_prompt == system_prompt
        and (found := in_base.get((level.level, level.system_prompt))) is not None
        and hits_differ(found, level, reuse)
    ]


def _hits(levels: Sequence[LevelSummary]) -> str:
    return ", ".join(f"{units.percentage(hit_ratio(level))} at {users_of(level.name)}" for level in levels)


def check_comparable(runs: Sequence[Results], allowed: Collection[str] = (), share_level: bool = True) -> None:
    """Raises ReportError where runs are not to be compared: one of them is given twice, or settings differ from the
    first run's (a line for each, with both values); OptionErrors where it is several of these. share_level: whether
    there is a level to compare; without one, no way to compare the runs anyway is offered."""
    base, *others = runs
    with collect_errors() as errors:
        errors.of(check_allowed, allowed)
        for one, other in same_runs(runs):
            errors.add(
                ReportError(f"{one.folder} and {other.folder} are the same run: expected different runs to compare.")
            )
        if not share_level:
            errors.add(_no_shared_level(runs))
        for other in others:
            found = differences(base, other, allowed)
            # That the levels differ is said already, with both runs' levels.
            if found := [unlike for unlike in found if share_level or unlike.field != "levels"]:
                errors.add(_unlike_settings(base, other, found, share_level))


def _unlike_settings(base: Results, other: Results, found: Sequence[NotComparable], can_allow: bool) -> ReportError:
    first, second = names_of(base, other)
    lines = "".join(f"\n  {unlike.field}: {unlike.base} in {first}, {unlike.new} in {second}" for unlike in found)
    fields = ",".join(unlike.field for unlike in found)
    anyway = f", or add --allow {fields} to compare them anyway" if can_allow else ""
    return ReportError(
        f"{first} and {second} were run with different settings:{lines}\n"
        f"Repeat one of them with the other's settings{anyway}."
    )


def names_of(base: Results, new: Results) -> tuple[str, str]:
    """What to call two runs: the names of their folders, with their places where the names are the same."""
    if base.folder.name == new.folder.name:
        return str(base.folder), str(new.folder)
    return base.folder.name, new.folder.name


def same_runs(runs: Sequence[Results]) -> list[tuple[Results, Results]]:
    """The pairs of folders that are one, or hold the same run: a copy."""
    return [pair for pair in combinations(runs, 2) if _is_same(*pair)]


def _is_same(one: Results, other: Results) -> bool:
    return one.folder.resolve() == other.folder.resolve() or (one.run, one.summary) == (other.run, other.summary)


def _no_shared_level(runs: Sequence[Results]) -> ReportError:
    """The error of runs that have no level in common: it says which levels each has."""
    lines = "".join(f"\n  {run.folder.name}: {levels_in_words(run) or 'none'}" for run in runs)
    options = list(dict.fromkeys(map(_load_option, runs)))
    remedy = f"Repeat one of them with the other's {options[0]}."
    if len(options) > 1:
        given = ", ".join(f"{run.folder.name} has {_load_option(run)}" for run in runs)
        remedy = f"Their kinds of load differ ({given}): repeat one of them with the other's option and value."
    return ReportError(f"These runs have no level in common:{lines}\n{remedy}")


def _load_option(run: Results) -> str:
    """The option that says the load of the run's levels."""
    options = run.run.options
    if all(level.arrivals is None for level in run.run.plan):
        return "--users" if run.run.shape == "free" else "--levels"
    given = (name for name in ("session_rate", "rate_schedule", "rate") if options.get(name))
    return f"--{next(given, 'arrivals').replace('_', '-')}"


def add_allow(parser: ArgumentParser, further: str = "") -> None:
    """Give `parser` the option of what runs may differ in. further: what else a command takes, in its help."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FIELD",
        help=f"settings in which the runs may differ, with commas between: {', '.join(FIELD_NAMES)}{further}",
    )


def allowed_fields(given: Sequence[str]) -> list[str]:
    """The fields of --allow, each of which may be several with commas between."""
    return [field.strip() for words in given for field in words.split(",") if field.strip()]


def check_allowed(allowed: Collection[str]) -> None:
    """Raises ReportError for a field that --allow does not know, OptionErrors for several."""
    with collect_errors() as errors:
        for name in allowed:
            if name not in FIELD_NAMES and name != SUSPECT:
                errors.add(ReportError(not_one_of("--allow", [*FIELD_NAMES, SUSPECT], name)))


def reasons_unreliable(results: Results) -> list[str]:
    """Why the run's figures are unreliable: it is suspect, failed, did not end, or has requests unaccounted for."""
    found = grouped_reasons(results.summary.validity) if results.summary.validity.verdict != "valid" else []
    if results.summary.validity.verdict == "suspect" and not found:
        found.append("no reason was recorded")
    has_reason = any(issue.kind == IssueKind.RUN_FAILED for issue in results.summary.validity.issues)
    if results.status != "finished" and not (results.status == "failed" and has_reason):
        found.append(f"the run is {results.status}")
    if not results.summary.accounting.complete:
        found.append("not all of its requests are accounted for")
    return found


def state_of(runs: Sequence[Results]) -> str:
    """What runs with unreliable figures are called: failed, suspect or by their status; "" where all are sound."""
    return " or ".join(sorted({state for run in runs if (state := _state_of(run))}))


def _state_of(run: Results) -> str:
    """A run that did not come to its end is called by its status, whatever else is wrong with it: it has to be
    repeated."""
    if run.status != "finished":
        return "not ended" if run.status == "running" else str(run.status)
    if run.summary.validity.verdict == "suspect":
        return "suspect"
    return "" if run.summary.accounting.complete else "incomplete"
