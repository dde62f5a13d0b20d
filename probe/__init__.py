"""One request told in full: what a server is, when each part of its answer came, what would mislead a measurement."""
