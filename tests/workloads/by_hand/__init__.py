"""Four networks written out by hand: a second, independent way to count what tracing counts."""

from __future__ import annotations

from collections.abc import Callable

from dvfo_env.workloads.graph import Graph
from tests.workloads.by_hand.inception_v4 import inception_v4
from tests.workloads.by_hand.resnet50 import resnet50
from tests.workloads.by_hand.vgg19 import vgg19
from tests.workloads.by_hand.yolov3_tiny import yolov3_tiny

GRAPHS: dict[str, Callable[[], Graph]] = {
    "inception-v4": inception_v4,
    "resnet50": resnet50,
    "vgg19": vgg19,
    "yolov3-tiny": yolov3_tiny,
}
