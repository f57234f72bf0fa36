"""A reinforcement-learning environment for joint split, mapping, clock and compression decisions."""
