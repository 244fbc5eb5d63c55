"""The order of the phases: Prefect flows, and the command line that starts them."""
