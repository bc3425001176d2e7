"""The commands of `python -m app` that look at decisions, rules and revisions; one file for each."""
