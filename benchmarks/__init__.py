"""Speed and quality benchmarks: each prints a table or JSON, none asserts a time."""
