"""The phases of the pipeline: thin, retryable Prefect tasks that use agents, episodes, tracking and reports."""
