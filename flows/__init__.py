"""The Prefect flow that runs the phases in order, and the command line that starts it."""
