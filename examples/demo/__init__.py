"""The demonstration: a PKI, synthetic data, the example node run for real, and clients that ask it."""
