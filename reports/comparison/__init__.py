"""The comparison of many experiments by seeds: groups of one variant on one level, and what can be said of each group."""
