"""A server that streams text in the dialects of real engines at a known speed, and logs when it wrote what.

`tokens` turns text into tokens and draws answers, `prefix_cache` and `batching` decide who gets a token when,
`profiles` names speeds and `faults` what goes wrong. A dialect (`dialect`, one module a family in `dialects`) turns an
answer into bytes, `connection` moves bytes, `exchange` is one request's life, `server` joins them all; `truth` keeps
the books, `figures` and `exposition` show the server's own. The batching model and the dialects know neither sockets
nor clocks.

`paced` is another server, for measuring clients: no model of an engine, but every token on time, from bytes rendered
beforehand (`paced_answers`), and a log (`paced_log`) of when each was really written.
"""
