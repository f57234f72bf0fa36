"""From a trained agent or a baseline to what a device runs: a policy bundle, or C source."""
