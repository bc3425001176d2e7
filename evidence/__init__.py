"""Formats and checks of proof: pure functions of bytes and values; no clock, network, disk or chance."""
