"""A server that streams text in the dialects of real engines at a known speed, and logs when it wrote what.

- `tokens` turns text into tokens and draws answers.
- `prefix_cache` and `batching` decide which request gets a token when.
- `profiles` names speeds, `faults` what goes wrong.
- A dialect (`dialect`; `dialects` has one module per family of engines) turns an answer into bytes.
- `listener` accepts connections, `connection` reads and writes them, `stream_body` writes an answer's events.
- `served_request` is one request from arrival to end, `server` joins them all.
- `truth` logs every request; `engine_stats` and `exposition` are the server's own metrics.

The batching model and the dialects use neither sockets nor clocks.

`paced` is another server, for measuring clients: no model of an engine, but every token on time, from bytes rendered
beforehand (`paced_answers`), and a log (`paced_log`) of when each was really written.
"""

if __name__ != "tokenswarm.simulator":
    raise __import__("tokenswarm").bare_import(__name__)
