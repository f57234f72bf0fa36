"""Hyper-parameter search: Optuna proposes, workers train and judge, one SQLite file remembers."""
