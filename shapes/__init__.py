"""How much load, when: pure plans of levels, pure schedules of arrivals, and the small Locust shape around them."""

if __name__ != "tokenswarm.shapes":
    raise __import__("tokenswarm").bare_import(__name__)
