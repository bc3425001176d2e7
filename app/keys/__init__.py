"""The node's own keys: files or a hardware module, their history and rotation."""
