"""`tokenswarm upload RESULTS URL`: copy a run's folder to a store, as --results URL does at the end of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenswarm.reports import units
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.output import show
from tokenswarm.run_folder.reader import ReportError
from tokenswarm.run_folder.remote_folder import check_url, is_url, upload


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `upload`."""
    parser.add_argument("results", metavar="RESULTS", type=Path, help="the folder a run left")
    parser.add_argument("url", metavar="URL", help="where to put it, like s3://bucket/prefix: as a folder of its name")


def main(args: argparse.Namespace) -> int:
    """Upload, verify the sizes and print where the copy is. Returns the exit code: 0; 2 with one sentence on the
    standard error."""
    return ended("upload", lambda: _upload(args))


def check(args: argparse.Namespace) -> None:
    """Raises ReportError."""
    if args.url is None:
        return  # its absence is an error of its own
    if not is_url(args.url):
        raise ReportError(f"upload takes the URL of a store, like s3://bucket/prefix, got {args.url}.")
    check_url("upload", args.url)


def _upload(args: argparse.Namespace) -> int:
    check(args)
    uploaded = upload(args.results, args.url)
    show(
        f"Uploaded: {uploaded.url} ({units.counted(uploaded.files, 'file')}, "
        f"{units.counted(uploaded.size_bytes, 'byte')}, sizes verified)"
    )
    return 0
