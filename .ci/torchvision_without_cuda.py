"""A pytest plug-in: torchvision's wheel for Linux imports beside the CPU build of torch.

Its compiled part needs CUDA and is left out there, but two of that part's operators are asked for on import. They are
declared here, never called: deepinv uses transforms only.
"""

import torch

for _name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
