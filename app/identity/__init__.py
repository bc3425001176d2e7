"""Who asks: certificates, tokens bound to them, and the node's own keys."""
