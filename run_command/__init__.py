"""`tokenswarm run` and `tokenswarm web`: a run of Locust with Tokenswarm's locustfile, from any folder."""

if __name__ != "tokenswarm.run_command":
    raise __import__("tokenswarm").bare_import(__name__)
