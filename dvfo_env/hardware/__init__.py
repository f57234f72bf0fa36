"""What a machine shows and lets one set: cores, clocks, power and temperature, by /sys and /proc.

Standard library only: `dvfo profile` and the controller share it. `sysfs` is the one place that reads or
writes those files.
"""
