"""The simulator's command: options in, one line out when it listens, and an exit code."""

import argparse
import asyncio
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tokenswarm.simulator.connection import FineSelector
from tokenswarm.simulator.dialect import Dialect, EngineTraits, GenerationRequest, Style, Usage
from tokenswarm.simulator.dialects import DIALECTS, dialect_named
from tokenswarm.simulator.errors import SimulatorError
from tokenswarm.simulator.faults import DISCONNECTS, OVERLOADS, USAGES, Faults
from tokenswarm.simulator.output import discard, is_writable, unblocked_errors
from tokenswarm.simulator.profiles import PROFILES, Profile, profile_named
from tokenswarm.simulator.request_log import RequestLog
from tokenswarm.simulator.requirements import Requirements
from tokenswarm.simulator.server import SimulatorServer
from tokenswarm.simulator.tokenizer_file import TokenizerFile
from tokenswarm.simulator.truth import TruthLog

#: A word that is none may be the key itself, which is not repeated.
_VARIABLE = re.compile("[A-Z][A-Z0-9_]*")
_HEADS = {"at-once": True, "first-token": False}

DEFAULT_MODEL = "simulated-llama-3-8b"
_PARENT_CHECK_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_SPEED_OPTIONS = {
    "step_ms": (float, "fixed time of one engine step"),
    "sequence_ms": (float, "time that each sequence in the batch adds to a step"),
    "prefill_tokens_per_s": (float, "how fast prompts are computed"),
    "prefill_ms": (float, "fixed time that each prompt adds to a step"),
    "max_batch": (int, "sequences in the batch; further requests wait"),
    "step_tokens": (int, "most tokens, prompts included, that one step computes"),
    "cache_blocks": (int, "size of the prefix cache in blocks, 0 for none"),
    "cache_block_tokens": (int, "tokens of a block of the prefix cache and of the KV cache"),
    "cache_eviction": (str, "which block a full prefix cache forgets: lru (least recently used) or fifo (oldest)"),
    "kv_blocks": (int, "size of the KV cache in blocks, for the metrics of its use"),
    "jitter": (float, "sigma of the lognormal noise on each step's time"),
    "prefill_ratio": (float, "prompts wait until there are N of them for each decoding sequence"),
    "prefill_patience": (int, "but for N steps at most"),
    "slowdown": (float, "share by which steps become longer while the batch is full"),
    "slowdown_s": (float, "over how many seconds"),
}
_PROFILE_OPTIONS = {
    "max_model_len": (int, "context length in tokens"),
    "answer_median_tokens": (float, "median length of answers that nothing cuts"),
}
_FAULT_OPTIONS = {
    "error_every": (int, "refuse each N-th request as the engine does when it is overloaded"),
    "fault_every": (int, "inject the next five into each N-th request only (default: each)"),
    "break_after": (int, "fail after N tokens as the engine does: one of the next three"),
    "fail_after": (int, "close the connection after N tokens"),
    "truncate_after": (int, "end the body after N tokens as if it were complete"),
    "stream_error_after": (int, "send the engine's error event after N tokens"),
    "stall_after": (int, "send nothing more after N tokens, the connection left open"),
    "pause_at": (int, "with the N-th request, give nobody a token for a while, as an engine that stalls"),
    "pause_s": (float, "for how long (default: 5)"),
    "max_queue": (int, "refuse when N requests wait for a place in the batch"),
    "retry_after": (int, "send `Retry-After: N` with each refusal"),
    "cold_start_s": (float, "not be ready so long, and hold requests until then, as a gateway does at zero replicas"),
    "role_early_ms": (float, "send the role event this long after the request, not with the first token"),
    "keep_alive_s": (float, "send a comment after so much silence"),
    "per_chunk": (int, "tokens in one event"),
    "first_event": (int, "tokens in the first event"),
    "empty_every": (int, "give each N-th token no text"),
    "rechunk": (int, "cut the body into HTTP chunks of 1 to N bytes"),
    "reasoning_tokens": (int, "send the first N tokens as reasoning"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the simulator's options to `parser`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--profile", default="default", help=f"speed: {', '.join(PROFILES)} (default: %(default)s)")
    parser.add_argument("--dialect", help=f"whom to speak like: {', '.join(DIALECTS)} (default: the profile's)")
    parser.add_argument(
        "--model",
        help="serve this model and refuse others, where the dialect checks names; without it, every name is accepted",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of words, lengths and jitter (default: %(default)s)")
    parser.add_argument(
        "--truth-log", type=Path, metavar="PATH", help="write a CSV row for each request, see simulator/truth.py"
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="PATH",
        help="count prompts with this tokenizer.json, not by the simulator's rule",
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="require the API key in this environment variable")
    parser.add_argument(
        "--request-log",
        type=Path,
        metavar="PATH",
        help="write each request as a line of JSON: path, headers (keys among them) and body",
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="end when standard input closes or the parent dies"
    )
    parser.add_argument(
        "--prefill-alone",
        action=argparse.BooleanOptionalAction,
        help="let a step compute prompts or decode, prompts first (default: the profile's way)",
    )
    groups = (
        ("speed, over the profile's", _SPEED_OPTIONS | _PROFILE_OPTIONS),
        ("faults and oddities", _FAULT_OPTIONS),
    )
    for title, options in groups:
        group = parser.add_argument_group(title)
        for name, (kind, text) in options.items():
            metavar = "POLICY" if kind is str else "N"
            group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    _add_traits(group)
    _add_requirements(parser.add_argument_group("what requests must be like"))


def _add_traits(group: argparse._ArgumentGroup) -> None:
    """Switches with words as values; without them the dialect does what its engine does."""
    group.add_argument("--overload", choices=OVERLOADS, default="own", help="what a refusal is (default: the engine's)")
    group.add_argument(
        "--usage", choices=USAGES, default="requested", help="where tokens are counted (default: as requested)"
    )
    group.add_argument(
        "--on-disconnect",
        choices=DISCONNECTS,
        default="stop",
        help="what becomes of an answer whose client has left: stop, or generate to its end (default: %(default)s)",
    )
    group.add_argument("--headers", choices=_HEADS, help="when a stream's headers leave (default: the engine's way)")
    group.add_argument("--data-space", choices=("one", "none", "trailing"), help="spaces around what follows `data:`")
    group.add_argument(
        "--gather",
        type=_events,
        default=1,
        metavar="N|all",
        help="send N events at once, or the whole answer, as a gateway does that holds output back",
    )
    group.add_argument("--no-done", action="store_true", help="end streams without [DONE]")
    group.add_argument("--split-characters", action="store_true", help="spread characters beyond ASCII over two tokens")
    group.add_argument("--comments", action="store_true", help="send a comment line before each event")
    group.add_argument("--crlf", action="store_true", help="end the lines of events with CR LF")
    group.add_argument(
        "--enable-debug", action="store_true", help="mlc: honour debug_config; vllm: have /reset_prefix_cache"
    )


def _events(text: str) -> int:
    if text != "all" and not text.lstrip("-").isdecimal():
        raise argparse.ArgumentTypeError(f"takes a number of events, or all, got {text!r}")
    return 0 if text == "all" else int(text)


def _add_requirements(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--path", metavar="PATH", help="answer at this path in place of the engine's own")
    group.add_argument("--require-header", metavar="NAME", help="refuse requests without this header (HTTP 401)")
    group.add_argument(
        "--refuse-field",
        action="append",
        default=[],
        metavar="NAME",
        help="refuse bodies with this field, as max_tokens; may be given several times",
    )
    group.add_argument("--refuse-system", action="store_true", help="refuse messages of the role system")


def main(args: argparse.Namespace, program: str = "tokenswarm simulate") -> int:
    """Serve until SIGTERM or SIGINT. Returns 0, or 2 after one sentence on the standard error, which begins with
    `program`, where the options cannot be used."""
    with unblocked_errors():
        try:
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner:
                runner.run(_serve(args, program))
        except SimulatorError as error:
            print(f"{program}: {error}", file=sys.stderr)
            return 2
    return 0


async def _serve(args: argparse.Namespace, program: str) -> None:
    # Before the address is out: a parent that only reads it may be gone a moment later.
    parent = os.getppid()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    name = args.dialect or profile_named(args.profile).dialect
    server = _server(args)
    port = server.listen(args.host, args.port)
    # Not before: a second start on a port in use must not empty the log of the first.
    if args.truth_log:
        server.truth = TruthLog(args.truth_log, partial(_say, program))
    if args.request_log:
        server.request_log = RequestLog(args.request_log, partial(_say, program))
    host = f"[{args.host}]" if ":" in args.host else args.host
    model = args.model or DEFAULT_MODEL
    about = f"profile {args.profile}, dialect {name}, model {model}"
    _announce(f"tokenswarm simulator listening on http://{host}:{port} ({about})", program)
    watch = asyncio.create_task(_watch_parent(stop, parent)) if args.exit_with_parent else None
    await stop.wait()
    # A second signal between the loop's end and the process's would print a traceback or change the exit code.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if watch is not None:
        watch.cancel()
    server.close()


def _say(program: str, sentence: str) -> None:
    print(f"{program}: {sentence}", file=sys.stderr)


def _announce(line: str, program: str) -> None:
    """Print the line. Where nobody reads the standard output (`| true`, a full pipe, a full disk), print it on the
    standard error, with the reason: the server runs all the same."""
    try:
        if sys.__stdout__ is None:  # before the process began: `>&-`
            raise OSError("it is closed")
        if not is_writable(sys.stdout):
            raise OSError("nobody reads it")
        print(line, flush=True)
    except OSError as error:
        if sys.stdout is not None:
            discard(sys.stdout)
        reason = error.strerror or error
        print(
            f"{program}: the standard output cannot be written ({reason}). Yet the server runs: {line}", file=sys.stderr
        )


def _server(args: argparse.Namespace) -> SimulatorServer:
    profile = _profile(args)
    name = args.dialect or profile.dialect
    kind = dialect_named(name)
    names = ("overload", "usage", "split_characters", "gather", "no_done", "on_disconnect")
    words = {name: getattr(args, name) for name in names}
    faults = Faults(**_given(args, _FAULT_OPTIONS), head_at_once=_HEADS.get(args.headers), **words)
    _check(name, kind.traits, faults, args)
    style = Style(crlf=args.crlf, comments=args.comments, space=args.data_space or kind.traits.space)
    dialect = kind(
        args.model or DEFAULT_MODEL,
        profile.max_model_len,
        int(time.time()),
        only_model=bool(args.model),
        style=style,
        enable_debug=args.enable_debug,
    )
    if faults.no_done and not _ends_with_done(dialect):
        raise SimulatorError(f"the {name} dialect has no [DONE]: leave out --no-done, or choose another --dialect.")
    requirements = Requirements(args.refuse_field, args.refuse_system, args.require_header)
    server = SimulatorServer(
        *(profile, dialect),
        seed=args.seed,
        faults=faults,
        api_key=_api_key(args.api_key_env),
        path=args.path,
        requirements=requirements,
    )
    server.tokenizer = TokenizerFile(args.tokenizer) if args.tokenizer else None
    return server


def _ends_with_done(dialect: Dialect) -> bool:
    generation = GenerationRequest([], 1, 0, ignore_eos=False, stream=True, include_usage=False, model="")
    usage = Usage(prompt_tokens=1, cached_tokens=0, output_tokens=1, prompt_ns=1, output_ns=1)
    ending = dialect.writer(generation, "", 0).ending([""], False, "stop", usage)
    return any(b"[DONE]" in event for event in ending)


def _check(name: str, traits: EngineTraits, faults: Faults, args: argparse.Namespace) -> None:
    """Raise SimulatorError for an option that would do nothing in this dialect."""
    events = args.comments or args.crlf or args.data_space is not None or faults.keep_alive_s is not None
    useless = (
        (events and not traits.sse, "server-sent events", "--comments, --crlf, --data-space or --keep-alive-s"),
        (faults.role_early_ms is not None and not traits.role, "event for the role", "--role-early-ms"),
        (faults.reasoning_tokens and not traits.reasoning, "field for reasoning", "--reasoning-tokens"),
        (faults.usage != "requested" and not traits.usage_on_request, "usage on request", "--usage"),
        (faults.stream_error_after and not traits.error_event, "error event", "--stream-error-after"),
        (faults.overload == "in-stream" and not traits.error_event, "error event", "--overload in-stream"),
        (args.enable_debug and not traits.debug_option, "debug mode", "--enable-debug"),
    )
    if args.pause_s is not None and faults.pause_at is None:
        raise SimulatorError("--pause-s has no effect without --pause-at: give the request at which the pause begins.")
    for is_useless, lacking, option in useless:
        if is_useless:
            raise SimulatorError(
                f"the {name} dialect has no {lacking}: leave out {option}, or choose another --dialect."
            )


def _profile(args: argparse.Namespace) -> Profile:
    named = profile_named(args.profile)
    alone = {} if args.prefill_alone is None else {"prefill_alone": args.prefill_alone}
    speed = replace(named.speed, **_given(args, _SPEED_OPTIONS), **alone)
    return replace(named, speed=speed, **_given(args, _PROFILE_OPTIONS))


def _given(args: argparse.Namespace, names: dict[str, tuple[type, str]]) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _api_key(name: str | None) -> str | None:
    if name is None:
        return None
    if not os.environ.get(name):
        known = f"names {name}, which" if _VARIABLE.fullmatch(name) else "takes the name of a variable, and what it got"
        raise SimulatorError(f"--api-key-env {known} is not set in the environment; set the variable to the key.")
    return os.environ[name]


async def _watch_parent(stop: asyncio.Event, parent: int) -> None:
    """Set `stop` when standard input ends or the parent process is no longer the one of this number.

    The end of input alone is not enough: a fork of the parent may hold the other end of the pipe open.
    """
    loop = asyncio.get_running_loop()
    threading.Thread(target=_wait_for_end_of_input, args=(loop, stop), daemon=True).start()
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_CHECK_S)
    stop.set()


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # In a thread, because a terminal or /dev/null cannot be polled as a pipe can.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    # The loop may have closed meanwhile: then there is nothing left to stop.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)
