"""Split inference for real: a network's head runs here, its tail on a server, and every request is answered."""
