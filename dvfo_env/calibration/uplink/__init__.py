"""Uplink models: from traces to a Markov chain with outages."""
