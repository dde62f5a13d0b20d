"""All uses of private names of Locust and gevent, and all replacements of Locust's own functions."""

if __name__ != "tokenswarm.upstream":
    raise __import__("tokenswarm").bare_import(__name__)
