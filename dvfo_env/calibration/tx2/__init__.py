"""The Jetson TX2: TensorRT and Keras grids, ncnn tables, rail logs."""
