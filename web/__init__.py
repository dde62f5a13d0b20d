"""What Locust's web page shows of tokens: a page of our own inside it, and additions to Locust's."""

if __name__ != "tokenswarm.web":
    raise __import__("tokenswarm").bare_import(__name__)
