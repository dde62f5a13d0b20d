"""One streamed request: its body, how it is sent and read, its deadlines, and its outcome."""

if __name__ != "tokenswarm.client":
    raise __import__("tokenswarm").bare_import(__name__)
