"""An authority for trials: certificates and revocation lists that no real network may trust."""
