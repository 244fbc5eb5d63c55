"""One phase of the pipeline each: thin, retryable Prefect tasks over agents, episodes, tracking and reports."""
