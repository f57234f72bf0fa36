"""What planners share: a belief about the outside world, the exact search over the joint action, tuning."""
