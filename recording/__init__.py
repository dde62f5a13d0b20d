"""A run being counted: recorder, aggregator, validity, journal, Prometheus."""

if __name__ != "tokenswarm.recording":
    raise __import__("tokenswarm").bare_import(__name__)
