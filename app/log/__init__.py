"""The decision log: sequencing, storage and index. Formats and checks of proof live in `evidence`."""
