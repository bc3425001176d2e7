"""The node: HTTP in front, the path of one question in the middle, sources and the decision log behind."""
