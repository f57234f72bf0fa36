"""The networks written out layer by layer, one file each; `GRAPHS` maps a workload's name to its graph."""

from __future__ import annotations

from collections.abc import Callable

from dvfo_env.workloads.graph import Graph
from dvfo_env.workloads.networks.inception_v4 import inception_v4
from dvfo_env.workloads.networks.resnet50 import resnet50
from dvfo_env.workloads.networks.vgg19 import vgg19
from dvfo_env.workloads.networks.yolov3_tiny import yolov3_tiny

GRAPHS: dict[str, Callable[[], Graph]] = {
    "inception-v4": inception_v4,
    "resnet50": resnet50,
    "vgg19": vgg19,
    "yolov3-tiny": yolov3_tiny,
}
