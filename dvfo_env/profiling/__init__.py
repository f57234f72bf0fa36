"""Measuring the machine this runs on: what cores and clocks it has, how long networks take, what they draw.

From bottom to top: `sysfs` (the only place that reads or writes /sys and /proc), `topology`, `clocks`,
`meters`, `load` (what the machine offers and how busy it is), `statistics`, `plan`, `log`, `engines`,
`worker` and `benches` (running a network), `measure` (the loop), `power` and `result` (samples to a device
profile), `compare`, and `session`, one run from beginning to end.
"""
