"""Learners and baselines behind one interface: an observation in, a joint action out."""
