"""The server under test: detection, readiness, preflight, its own metrics, and servers embedded for a run."""

if __name__ != "tokenswarm.target":
    raise __import__("tokenswarm").bare_import(__name__)
