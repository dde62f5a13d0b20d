from gevent import monkey; monkey.patch_all()  # noqa: E702, I001  # fmt: skip
# Before anything else is imported, as under Locust: tests run in the world that the code runs in.
