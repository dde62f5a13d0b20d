"""Master and workers: protocol, membership, clock, outbox, and the checks of what arrives."""

if __name__ != "tokenswarm.cluster":
    raise __import__("tokenswarm").bare_import(__name__)
