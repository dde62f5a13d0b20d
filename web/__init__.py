"""What Locust's web page shows of tokens: a page of our own inside it, and additions to Locust's."""
