from gevent import monkey; monkey.patch_all()  # noqa: E702, I001  # fmt: skip
# Before anything else is imported, as under Locust: tests run in the world that the code runs in.

from collections.abc import Iterator

import pytest

from tests.peer import Server, server_on_ipv6_or_skip


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server_on_ipv6() -> Iterator[Server]:
    server = server_on_ipv6_or_skip()
    yield server
    server.close()
