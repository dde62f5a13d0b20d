"""A matrix of runs from one command: `tokenswarm sweep`."""

if __name__ != "tokenswarm.sweep":
    raise __import__("tokenswarm").bare_import(__name__)
