"""Overwrites the values of --header and --proxy in the arguments that `ps` shows, as a process begins.

Importing this module does it; it comes before everything that takes time. The values themselves stay in `sys.argv`,
from which the options are read later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tokenswarm.sanitize.process_title import overwrite_argument


def secret_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(value of --header or --proxy, its end that nobody else may see)"""
    for place, word in enumerate(arguments):
        option, is_joined, joined = word.partition("=")
        if option not in ("--header", "--proxy"):
            continue
        value = joined if is_joined else next(iter(arguments[place + 1 : place + 2]), "")
        if option == "--header":
            yield value, value.partition(":")[2].lstrip()
        elif "@" in value:
            yield value, value.partition("://")[2] or value


for _value, _secret in secret_arguments(sys.argv[1:]):
    overwrite_argument(_value, _secret)
