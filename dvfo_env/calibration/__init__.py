"""From raw measurements to profiles and models: fits, hold-out errors and reports."""
