"""Ids by which a request is found again in a server's logs."""

import re

import pytest

from tokenswarm.client.request_ids import REQUEST_ID_HEADERS, new_trace_id, server_request_id, traceparent
from tokenswarm.metrics.trace_context import span_id_of


@pytest.mark.parametrize("name", REQUEST_ID_HEADERS)
def test_each_of_the_headers_is_read(name: str) -> None:
    assert server_request_id({"date": "today", name: "abc"}) == "abc"


def test_without_one_there_is_none() -> None:
    assert server_request_id({"x-request-id": "", "server": "x"}) == ""


def test_what_a_server_sends_there_is_kept_short_and_harmless() -> None:
    found = server_request_id({"x-request-id": "\x1b[31m" + "a" * 5000})
    assert "\x1b" not in found and len(found) <= 128


def test_a_trace_s_header_is_as_w3c_trace_context_has_it() -> None:
    trace_id = new_trace_id()
    assert trace_id != new_trace_id()
    assert re.fullmatch(rf"00-{trace_id}-[0-9a-f]{{16}}-01", traceparent(trace_id))


def test_the_span_of_a_trace_can_be_found_again_from_its_id() -> None:
    trace_id = new_trace_id()
    assert traceparent(trace_id) == traceparent(trace_id) == f"00-{trace_id}-{span_id_of(trace_id)}-01"
