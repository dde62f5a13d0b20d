"""What a run means: its table, its charts and its progress line, all read from the results folder it left."""
