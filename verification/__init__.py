"""Does the model tell the truth: predicted against measured requests, by the real runtime on this machine."""
