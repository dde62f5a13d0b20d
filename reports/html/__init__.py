"""report.html: a run as one page that can be forwarded."""
