"""A run in the result files of other tools: `tokenswarm report FOLDER --to FORMAT FILE`."""
