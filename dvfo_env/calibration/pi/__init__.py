"""Raspberry Pis: pose network over cores and clocks, ncnn tables, metered rails."""
