"""`tokenswarm probe -H URL`: options in, one telling out, and an exit code."""

from __future__ import annotations

import argparse
import sys

import msgspec

from engines import ENGINES
from probe.inquiry import Probe, ProbeError
from probe.text import told_as_text
from prompts import PromptError, token_counter
from reports.output import show
from users.address import base_url, origin_of
from users.options import OptionError, Timeouts
from wire import TlsSettings, UnusableCertificates, UnusableUrl

EXIT_CANNOT = 2
EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `probe`."""
    parser.add_argument("-H", "--host", required=True, metavar="URL", help="the server, such as http://gpu:8000")
    parser.add_argument("--engine", choices=["auto", *ENGINES], default="auto", help="default: found out by asking")
    parser.add_argument("--model", default="", help="model to ask for (default: the server's only one)")
    parser.add_argument("--tokenizer", help="tokenizer.json, its folder, or a hub name: counts the answer's tokens too")
    parser.add_argument(
        "--max-tokens", type=int, default=128, metavar="N", help="longest answer (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="for a first token (default: %(default)g)"
    )
    parser.add_argument("--tls-ca", metavar="FILE", help="PEM file of the authorities to trust with an https host")
    parser.add_argument("--tls-insecure", action="store_true", help="trust whatever certificate an https host shows")
    parser.add_argument("--json", action="store_true", help="tell it as JSON")


def main(args: argparse.Namespace) -> int:
    """Ask a few questions and tell of them. Returns 0, or 2 with one sentence on the standard error where the server
    cannot be told of."""
    try:
        told = _probe(args).tell()
    except (ProbeError, OptionError, UnusableUrl, UnusableCertificates, PromptError) as error:
        print(f"tokenswarm probe: {error}", file=sys.stderr)
        return EXIT_CANNOT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if args.json:
        show(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        show(told_as_text(told))
    return 0


def _probe(args: argparse.Namespace) -> Probe:
    """Raises ProbeError, OptionError, UnusableUrl, PromptError."""
    if args.max_tokens < 1 or not args.timeout > 0:
        raise ProbeError("--max-tokens takes a whole number of at least 1, --timeout seconds above 0.")
    return Probe(
        host=base_url(args.host),
        origin=origin_of(args.host),
        engine=None if args.engine == "auto" else args.engine,
        model=args.model,
        max_tokens=args.max_tokens,
        timeouts=Timeouts(connect_s=10.0, first_token_s=args.timeout, idle_s=args.timeout, total_s=10 * args.timeout),
        tls=TlsSettings(args.tls_ca, args.tls_insecure),
        count_tokens=token_counter(args.tokenizer).count if args.tokenizer else None,
    )
