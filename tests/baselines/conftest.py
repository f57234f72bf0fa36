"""Searches of these tests keep results in a folder of their own; learned baselines train for a moment."""

from __future__ import annotations

from tests.baselines.briefly import searches_of_tests

__all__ = ["searches_of_tests"]
