"""Measuring accuracy and bytes of one's own network: every cut, ranking, keep ratio, width and coder."""
