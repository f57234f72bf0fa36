"""Policies x scenarios x seeds -> rows -> statistics -> report; knows policies only by their interface."""
