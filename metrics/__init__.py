"""What happened: the timeline of one request, the books of a run, and where they are written and shown."""
