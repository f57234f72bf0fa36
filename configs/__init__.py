"""Scenario, agent and suite files that ship with the project; data only."""
