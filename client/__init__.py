"""What a consuming system and an auditor install: an HTTP client of the node and offline checks of its evidence."""
