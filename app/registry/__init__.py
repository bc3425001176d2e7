"""What the node knows about departments, services and agreements."""
