"""The simulator's command: options in, one line out when it listens, and an exit code."""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulator.connection import FineSelector
from simulator.errors import SimulatorError
from simulator.faults import Faults
from simulator.openai_dialect import ChatDialect, Style
from simulator.profiles import PROFILES, Profile, profile_named
from simulator.server import Server
from simulator.truth import TruthLog

DEFAULT_MODEL = "simulated-llama-3-8b"
_PARENT_CHECK_S = 1.0

_SPEED_OPTIONS = {
    "step_ms": (float, "fixed time of one engine step"),
    "sequence_ms": (float, "time that each sequence in the batch adds to a step"),
    "prefill_tokens_per_s": (float, "how fast prompts are computed"),
    "prefill_ms": (float, "fixed time that each prompt adds to a step"),
    "max_batch": (int, "sequences in the batch; further requests wait"),
    "step_tokens": (int, "most tokens, prompts included, that one step computes"),
    "cache_blocks": (int, "size of the prefix cache in blocks of 16 tokens, 0 for none"),
    "jitter": (float, "sigma of the lognormal noise on each step's time"),
}
_PROFILE_OPTIONS = {
    "max_model_len": (int, "context length in tokens"),
    "answer_median_tokens": (float, "median length of answers that nothing cuts"),
}
_FAULT_OPTIONS = {
    "error_every": (int, "answer each N-th request with 503"),
    "fault_every": (int, "let the next three strike each N-th request only (default: each)"),
    "fail_after": (int, "close the connection after N tokens"),
    "stall_after": (int, "send nothing more after N tokens, the connection left open"),
    "stream_error_after": (int, "send an error event, then [DONE], after N tokens"),
    "max_queue": (int, "answer 503 when N requests wait for a place in the batch"),
    "role_early_ms": (float, "send the role event this long after the request, not with the first token"),
    "per_chunk": (int, "tokens in one event"),
    "reasoning_tokens": (int, "send the first N tokens as reasoning"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the simulator's options to `parser`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--profile", default="default", help=f"speed: {', '.join(PROFILES)} (default: %(default)s)")
    parser.add_argument("--model", help="serve this model and refuse others; without it, every name is accepted")
    parser.add_argument("--seed", type=int, default=0, help="seed of words, lengths and jitter (default: %(default)s)")
    parser.add_argument(
        "--truth-log", type=Path, metavar="PATH", help="write a CSV row for each request, see simulator/truth.py"
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="require the API key in this environment variable under /v1"
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="end when standard input closes or the parent dies"
    )
    groups = (
        ("speed, over the profile's", _SPEED_OPTIONS | _PROFILE_OPTIONS),
        ("faults and oddities", _FAULT_OPTIONS),
    )
    for title, options in groups:
        group = parser.add_argument_group(title)
        for name, (kind, text) in options.items():
            group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)
    group.add_argument("--comments", action="store_true", help="send a comment line before each event")
    group.add_argument("--crlf", action="store_true", help="end the lines of events with CR LF")


def main(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT: 0. 2 if it cannot be set up as asked, with one sentence on standard error."""
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner:
            runner.run(_serve(args))
    except SimulatorError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(args: argparse.Namespace) -> None:
    # Before the address is out: a parent that only reads it may be gone a moment later.
    parent = os.getppid()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = _server(args)
    port = server.listen(args.host, args.port)
    # Not before: a second start on a port in use must not empty the log of the first.
    if args.truth_log:
        server.truth = TruthLog(args.truth_log)
    host = f"[{args.host}]" if ":" in args.host else args.host
    model = args.model or DEFAULT_MODEL
    print(f"tokenswarm simulator listening on http://{host}:{port} (profile {args.profile}, model {model})", flush=True)
    watch = asyncio.create_task(_watch_parent(stop, parent)) if args.exit_with_parent else None
    await stop.wait()
    if watch is not None:
        watch.cancel()
    server.close()


def _server(args: argparse.Namespace) -> Server:
    profile = _profile(args)
    faults = Faults(**_given(args, _FAULT_OPTIONS))
    api_key = _api_key(args.api_key_env)
    model = args.model or DEFAULT_MODEL
    style = Style(crlf=args.crlf, comments=args.comments)
    dialect = ChatDialect(model, profile.max_model_len, int(time.time()), only_model=bool(args.model), style=style)
    return Server(profile, dialect, model, seed=args.seed, faults=faults, api_key=api_key)


def _profile(args: argparse.Namespace) -> Profile:
    named = profile_named(args.profile)
    speed = replace(named.speed, **_given(args, _SPEED_OPTIONS))
    return replace(named, speed=speed, **_given(args, _PROFILE_OPTIONS))


def _given(args: argparse.Namespace, names: dict[str, tuple[type, str]]) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _api_key(name: str | None) -> str | None:
    if name is None:
        return None
    if not os.environ.get(name):
        raise SimulatorError(f"--api-key-env names {name}, which is not set in the environment; set it to the key.")
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
