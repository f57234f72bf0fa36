"""Policies that need no training: what the device does untouched, what careful engineers would do, and
yardsticks.
"""
