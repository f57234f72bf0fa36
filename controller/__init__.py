"""What runs on a device: policy bundles, telemetry and actuators, and split inference against a server.

Needs numpy and onnxruntime (with the protobuf it brings along) and nothing else; of this project only what is
as light: `dvfo_env.codecs`, `dvfo_env.hardware` and the errors.
"""
