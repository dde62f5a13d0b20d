"""What a run means: its table, its charts and its progress line, all read from the results folder it left."""

if __name__ != "tokenswarm.reports":
    raise __import__("tokenswarm").bare_import(__name__)
