"""Classes of the locustfiles that Locust has imported, before it has an environment that holds them.

It says how Locust imports them and where. A test in tests/upstream fails when Locust does it otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from locust import LoadTestShape, User
from locust.argument_parser import parse_locustfile_paths
from locust.util.load_locustfile import is_shape_class, is_user_class
from locust.util.url import is_url


def loaded_classes(locustfiles: str) -> tuple[list[type[User]], list[type[LoadTestShape]]]:
    """Users and shapes of these files, as --locustfile names them. Empty for files that came from elsewhere: from a
    URL or the master. Those are known when Locust has an environment.

    Locust imports each file under its name without the suffix, and reads its options between that and its init event.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/util/load_locustfile.py#L50-L80
    """
    named = [name for each in locustfiles.split(",") if (name := each.strip())]
    if not all(Path(name).exists() and not is_url(name) for name in named):
        return [], []
    found = [value for path in parse_locustfile_paths(named) for value in _values(path)]
    users = [each for each in dict.fromkeys(filter(_is_class, found)) if is_user_class(each)]
    return users, [each for each in dict.fromkeys(filter(_is_class, found)) if is_shape_class(each)]


def _values(path: str) -> list[Any]:
    name = Path(path).stem
    module = sys.modules.get("locustfile" if name == "locust" else name)
    return list(vars(module).values()) if getattr(module, "__file__", None) == path else []


def _is_class(value: Any) -> bool:
    return isinstance(value, type)
