"""The run configuration as its page shows it: the facts of run.json, and the command line that repeats the run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.recording.prompt_notices import OWN_REUSE
from tokenswarm.reports import units
from tokenswarm.reports.html.document import Block, Cell, Code, Facts, Row, Table, Text
from tokenswarm.reports.level_names import time_in_words
from tokenswarm.run_folder.reader import Results

#: Of a run's options, those that say where it writes and publishes to: not what it does.
_WHERE = {
    *("results", "metrics_host", "metrics_port", "metrics_linger", "cluster", "junit", "markdown", "spool_folder"),
    "open",
}
#: Options of the ladder, which exclude -u, -r and -t.
_LADDER = {"shape", "levels", "ramp", "level_time"}
#: No options: values that older versions recorded beside them.
_NO_OPTIONS = {"text_calibration", "workers_of_run"}
#: What facts of run.json's prompts are called; others by their key.
_FACT_NAMES = {
    "cache": "the server's prefix cache (--cache)",
    "conversations": "texts of several messages (conversations)",
    "count": "texts to draw from",
    "fingerprint": "fingerprint of these texts",
    "head_tokens_off": "tokens besides the words, without system prompt",
    "head_tokens_on": "tokens besides the words, with system prompt",
    "includes_template": "these include the chat template",
    "left_out_by_length": "rows left out, length outside --prompt-tokens",
    "left_out_failed_spans": "rows left out, failed spans",
    "left_out_of_other_roles": "rows left out, roles other than user, assistant, system",
    "left_out_other_spans": "rows left out, spans of other operations",
    "left_out_without_text": "rows left out, no text",
    "nonce": "seed of the first characters (--prompt-nonce)",
    "nonce_source": "origin of this seed",
    "reuse": "repeats of a prompt (--prompt-reuse)",
    "rows": "rows of the source",
    "source": "source of the texts",
    "system_prompt_counting": "tokens of the system prompt counted by",
    "system_prompt_fingerprint": "fingerprint of the system prompt",
    "system_prompt_tokens": "tokens of the system prompt",
    "token_counting": "tokens counted by",
    "tokens_max": "tokens of the longest text",
    "tokens_median": "tokens of a text, median",
    "tokens_min": "tokens of the shortest text",
    "words": "different words in use",
    "words_add_up": "a text has as many tokens as its words together",
}
_OF_THE_SYSTEM_PROMPT = ("system_prompt_fingerprint", "system_prompt_tokens", "system_prompt_counting")
_FACT_VALUES = {
    (
        "cache",
        "share",
    ): "share: prompts that begin like earlier ones, with a system prompt for example, may find that beginning in it",
    ("cache", "bust"): "bust: no prompt finds anything of another one in it",
    ("cache", "flush"): "flush: as share, and emptied before each level",
    ("reuse", "never"): "never: texts may be drawn again, but each request begins its text with random characters of "
    "its own; a system prompt before it stays the same",
    ("reuse", "run"): "run: a text that is drawn again is the same prompt; it begins differently in the next run",
    ("reuse", "always"): "always: texts are sent unchanged, so that one which is drawn again is the same prompt",
    ("reuse", OWN_REUSE): "the code of the locustfile says",
    ("nonce_source", "drawn"): "random, drawn for this run",
    ("nonce_source", "given"): "--prompt-nonce",
    ("token_counting", "usage"): "the server (usage)",
    ("token_counting", "tokenizer"): "the tokenizer",
}
_HEADERS_TEXT = (
    "Values of --header are not recorded: the command reads them from the variables that it names, so set these first."
)


def definition(results: Results) -> list[Block]:
    """Everything that defines the run, and the command that repeats it."""
    run, summary = results.run, results.summary
    server = run.server_metrics
    unused = () if any(level.system_prompt == "on" for level in run.plan) else _OF_THE_SYSTEM_PROMPT
    facts = [
        ("started", units.moment(run.started_at)),
        ("ended", units.moment(run.ended_at) if run.ended_at else ""),
        ("host", f"{summary.host or ''}{' (the embedded simulator)' if run.embedded_simulator else ''}"),
        ("engine", " ".join(filter(None, (summary.engine, run.engine_version)))),
        ("gateway", run.gateway or ""),
        ("detected by", "; ".join(run.engine_evidence)),
        ("model", summary.model or ""),
        ("chat template", run.chat_template or "the server's own"),
        ("waited for the server", units.duration(run.cold_start_s) if run.cold_start_s else ""),
        *(_prompt_fact(name, value) for name, value in run.prompts.items() if value is not None and name not in unused),
        ("server-side metrics", str(server.get("source") or server.get("note") or "")),
        ("GPU metrics", str(server.get("gpu_source") or "")),
        ("worker processes", "" if run.workers is None else units.count(run.workers)),
        ("Tokenswarm", run.tokenswarm_version),
        ("Python", run.python),
        ("platform", run.platform),
    ]
    limited = any(level.requests for level in run.plan)
    plan: list[Row] = [
        [
            Cell(users_of(level.name) + (" (warm-up)" if level.warm_up else ""), PROMPT[level.system_prompt]),
            units.planned_time(level.ramp_s),
            time_in_words(level),
            *([units.count(level.requests) if level.requests else ""] if limited else []),
        ]
        for level in run.plan
    ]
    blocks: list[Block] = [Facts([(name, value) for name, value in facts if value])]
    if plan:
        blocks.append(
            Table("The plan", ["level", "ramp", "level time, ramp included", *(["requests"] if limited else [])], plan)
        )
    if run.options:
        blocks += [
            Text(
                "Command that repeats this run. Options with their default values are left out; prompts get other "
                "random characters unless --prompt-nonce is given; an API key is read from LLM_API_KEY:"
            ),
            Code(command_of(results)),
        ]
        if run.options.get("header"):
            blocks.append(Text(_HEADERS_TEXT))
    return blocks


def _prompt_fact(name: str, value: object) -> tuple[str, str]:
    """A fact of the prompts in words: (what it is, its value)."""
    shown = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    text = _FACT_VALUES.get((name, shown), shown)
    return f"prompts: {_FACT_NAMES.get(name, name.replace('_', ' '))}", text


def command_of(results: Results) -> str:
    """The command line that repeats the run on the same server. Where it writes to is left to its defaults."""
    run = results.run
    # The embedded simulator is gone with its run: a new one starts where no host is given.
    host = [] if run.embedded_simulator else ["-H", results.summary.host or "HOST"]
    own = ["-f", str(run.own_code["locustfile"])] if run.own_code else []
    words = ["tokenswarm", "run", *own, *host]
    if run.shape == "free" and run.plan and not run.own_code.get("shape"):
        words += _free_words(results)
    left_out = _WHERE | _NO_OPTIONS | _without_effect(run.prompts.get("requested_lengths", ""))
    if run.shape == "free":
        left_out |= _LADDER
    if run.prompts.get("reuse") == OWN_REUSE:
        left_out |= {"prompt_nonce"}  # drawn for every run, and not used in this one
    if not run.options.get("slo"):
        left_out |= {"slo_share"}
    for name, value in run.options.items():
        if name in left_out or value in (None, "", False, []):
            continue
        if run.changed_options is not None and name not in run.changed_options:
            continue
        if run.shape == "open" and name in _without_effect_in_open_loop(results):
            continue
        if name == "prompt_nonce" and run.prompts.get("nonce_source") == "drawn":
            continue  # another run draws its own: this one's would send what a cache may hold
        words += _option_words("--" + name.replace("_", "-"), value)
    words += _label_words(results)
    return " ".join(map(shlex.quote, words))


def _label_words(results: Results) -> Iterator[str]:
    """The run's name and tags: by these, lists and comparisons find it and pool it with its repetitions."""
    if results.run.name:
        yield from _option_words("--name", results.run.name)
    for key, value in results.run.tags.items():
        yield from ("--tag", f"{key}={value}")


def _option_words(option: str, value: object) -> list[str]:
    if value is True:
        return [option]
    if option == "--header" and isinstance(value, list):
        return [word for entry in value for word in (option, _header_with_variable(str(entry)))]
    text = str(value)
    return [f"{option}={text}"] if text.startswith("-") else [option, text]


def _header_with_variable(entry: str) -> str:
    """An entry that names no variable for its value gets one that is named after the header."""
    if ":" in entry:
        return entry
    variable = re.sub(r"[^A-Z0-9]", "_", entry.upper())
    return f"{entry}: ${'_' if variable[0].isdigit() else ''}{variable}"


def _without_effect(requested_lengths: str) -> set[str]:
    """Options that requested lengths replace."""
    found = {"prompts", "prompt_tokens"} if "input" in requested_lengths else set[str]()
    return found | {"max_tokens"} if "output" in requested_lengths else found


def _without_effect_in_open_loop(results: Results) -> set[str]:
    """Options of closed loops; a file of arrivals says itself how long its level is."""
    of_file = any(level.arrivals is not None and level.arrivals.file_sha256 for level in results.run.plan)
    return _LADDER if of_file else _LADDER - {"level_time"}


def _free_words(results: Results) -> Iterator[str]:
    level = results.run.plan[0]
    yield from ("-u", str(level.users))
    if level.ramp_s:
        yield from ("-r", f"{level.users / level.ramp_s:g}")
    if level.level_time_s is not None:
        yield from ("-t", f"{level.level_time_s:g}s")
