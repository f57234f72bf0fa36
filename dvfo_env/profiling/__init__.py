"""Measuring the machine this runs on: what cores and clocks it has, how long networks take, what they draw.

On top of `dvfo_env.hardware`, from bottom to top: `setting` (clocks set and given back), `load` (what the
machine offers and how busy it is), `statistics`, `plan`, `log`, `engines`, `worker` and `benches` (running a
network), `measure` (the loop), `power` and `result` (samples to a device profile), `compare`, and `session`,
one run from beginning to end.
"""
