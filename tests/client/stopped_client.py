"""A client in a process of its own, for the test to stop: one request for each case of its argument.

The argument is JSON: a list of [origin, {limit: seconds}, measure_gaps]. A line on standard output for each first
output; at the end, JSON: [outcome, error] of each.
"""

from gevent import monkey; monkey.patch_all()  # noqa: E702, I001  # fmt: skip

import json
import sys
from dataclasses import replace

import gevent

from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.wire import Origin, StreamClient, TlsSettings

PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)


def ask(origin: str, limits_s: dict[str, float], measure_gaps: bool) -> Timeline:
    timeouts = replace(PATIENT, **limits_s)
    seen: list[int] = []

    def on_output(outputs: int) -> None:
        if not seen:
            print("output", flush=True)
        seen.append(outputs)

    return StreamingRequest(
        StreamClient(Origin.parse(origin), timeouts.connect_s, tls=TlsSettings(insecure=True).context()),
        RequestSpec(
            ENGINES["vllm"],
            ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=64),
            timeouts,
            user="0.1",
            level=0,
            prompt_tokens=2,
            prompt_tokens_source="estimate",
            measure_gaps=measure_gaps,
        ),
        on_output=on_output,
    ).run()


if __name__ == "__main__":
    asking = [gevent.spawn(ask, *case) for case in json.loads(sys.argv[1])]
    gevent.joinall(asking)
    print(json.dumps([[each.value.outcome, each.value.error] for each in asking]))
