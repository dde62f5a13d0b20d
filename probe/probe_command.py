"""`tokenswarm probe -H URL`: options in, one report out, and an exit code."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace

import msgspec

from tokenswarm.client.connection_options import (
    add_connection_options,
    keep_proxy_credentials,
    unused_proxy_notice,
)
from tokenswarm.client.custom_headers import keep_values
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_control import add_request_control
from tokenswarm.client.request_options import AUTO, ChatOptions, add_options
from tokenswarm.client.server_address import base_url, origin_of, take_route
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.command_line import OptionAdder, OptionErrors, PlainArguments, sentences_of
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.engines import ENGINES, load_engines_of_packages
from tokenswarm.probe.interrupted import ending_with_ctrl_c
from tokenswarm.probe.probe import Probe, ProbeError
from tokenswarm.probe.probe_text import format_report
from tokenswarm.prompts import PromptError, token_counter
from tokenswarm.sanitize import report_lost_output, shown
from tokenswarm.wire import UnusableCertificates, UnusableUrl

#: Options of requests that only a run follows: a probe adapts no request.
_NO_EFFECT = ("--fold-system-prompt",)
_LIKE_AN_ADDRESS = re.compile(r"://|:\d|\.|^localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `probe`."""
    parser.add_argument("-H", "--host", metavar="URL", help="the server, such as http://gpu:8000")
    parser.add_argument("address", nargs="?", help=argparse.SUPPRESS)  # to say how it is written
    for sentence in load_engines_of_packages():
        print(f"tokenswarm probe: {sentence}", file=sys.stderr)
    parser.add_argument(
        "--engine", choices=["auto", *ENGINES], default="auto", help="default: detected from the server"
    )
    parser.add_argument("--model", default="", help="model to request (default: the only one that the server lists)")
    parser.add_argument("--tokenizer", help="tokenizer.json, its folder, or a hub name: counts the answer's tokens too")
    parser.add_argument(
        "--max-tokens", type=int, default=128, metavar="N", help="longest answer (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds to wait for a first token (default: %(default)g)",
    )
    requests = OptionAdder(PlainArguments(parser, _NO_EFFECT))
    add_request_control(requests)
    add_connection_options(requests)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def check(args: argparse.Namespace) -> None:
    """What can be wrong with the arguments together. Raises ProbeError."""
    if args.address is not None:
        word = shown(args.address)
        as_host = args.host is None and _LIKE_AN_ADDRESS.search(word)
        raise ProbeError(f"unexpected argument {word!r}" + (f"; write it as -H {word}." if as_host else "."))
    if args.host is None:
        raise ProbeError("--host is missing: give the server's address, like -H http://gpu:8000.")
    if args.max_tokens < 1 or not args.timeout > 0:
        raise ProbeError("--max-tokens takes a whole number of at least 1, --timeout seconds above 0.")


def main(args: argparse.Namespace) -> int:
    """Send a few requests and report how the server answers. Returns 0, or 2 with one sentence on the standard error
    where there is no report."""
    try:
        check(args)
        probe = _probe(args)
        with ending_with_ctrl_c():
            report = probe.run()
    except (ProbeError, OptionError, OptionErrors, UnusableUrl, UnusableCertificates, PromptError) as error:
        for sentence in sentences_of(error):
            print(f"tokenswarm probe: {sentence}", file=sys.stderr)
        return EXIT_UNUSABLE
    text = msgspec.json.format(msgspec.json.encode(report), indent=2).decode() if args.json else format_report(report)
    try:
        print(text, flush=True)
    except OSError as error:
        report_lost_output(error, sys.stdout)
    return 0


def _probe(args: argparse.Namespace) -> Probe:
    """Raises OptionError, OptionErrors, UnusableUrl, PromptError."""
    origin = origin_of(args.host)
    take_route(args, args.host)
    keep_values(args)
    keep_proxy_credentials(args)
    options = _chat_options(args)
    if options.proxy is None and (notice := unused_proxy_notice(origin)):
        print(f"tokenswarm probe: {notice}.", file=sys.stderr)
    return Probe(
        host=base_url(args.host),
        origin=origin,
        options=options,
        engine=None if args.engine == AUTO else args.engine,
        count_tokens=token_counter(args.tokenizer).count if args.tokenizer else None,
    )


def _chat_options(args: argparse.Namespace) -> ChatOptions:
    """How requests are made: as a run with these arguments makes them, and with its defaults. Raises OptionError,
    OptionErrors."""
    run = argparse.ArgumentParser()
    add_options(PlainArguments(run))
    given = run.parse_args([])
    vars(given).update(vars(args))
    # What an engine cannot do is judged when it is known.
    given.engine = AUTO
    timeouts = Timeouts(connect_s=10.0, first_token_s=args.timeout, idle_s=args.timeout, total_s=10 * args.timeout)
    return replace(ChatOptions.of(given), timeouts=timeouts)
