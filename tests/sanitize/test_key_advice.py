"""What to do about a refused key: only what is true of what the requests had."""

from __future__ import annotations

import pytest

from tokenswarm.sanitize import SentKey, key_advice

BEARER = "Authorization: Bearer KEY"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("sources", "is_withheld"), [((), True), (("LLM_API_KEY",), True), ((), False)])
def test_a_server_that_gets_no_key_is_to_be_named_on_the_command_line(
    status: int, sources: tuple[str, ...], is_withheld: bool
) -> None:
    advice = key_advice(status, SentKey(sources, is_withheld=is_withheld, missing_header=BEARER))
    assert "LLM_API_KEY" in advice
    assert ("-H" in advice, "--web-allow-target" in advice) == (is_withheld, is_withheld)
