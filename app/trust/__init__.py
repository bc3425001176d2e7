"""Whose certificates are worth anything: authorities, paths to them, and their revocation lists."""
