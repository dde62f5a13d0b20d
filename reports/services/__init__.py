"""A run sent to other programs: `tokenswarm report FOLDER --to otlp URL`, `--to mlflow URL`."""
