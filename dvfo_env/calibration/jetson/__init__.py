"""The other Jetsons: Triton grids with wall power, power modes, ncnn tables."""
