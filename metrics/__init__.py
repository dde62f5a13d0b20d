"""What happened: the timeline of one request, the statistics of a run, and where they are written and shown."""

if __name__ != "tokenswarm.metrics":
    raise __import__("tokenswarm").bare_import(__name__)
