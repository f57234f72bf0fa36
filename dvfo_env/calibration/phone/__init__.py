"""Phones: published tables of layers and copies, ncnn tables."""
