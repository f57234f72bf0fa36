"""Split inference for real: head here, tail on a server, and every request is answered."""
