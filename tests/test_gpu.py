"""On a GPU, where there is one: the same image, certificate and gradient as on the processor."""

import pytest
import torch

import resolvent as rv
from resolvent.data import birdcage_maps
from resolvent.monotone import conv_norm_bound
from resolvent.monotone.convolution import conv

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this machine")


def measurements(device: str):
    maps = birdcage_maps(8, (96, 96), seed=1)[None]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    image = ((x**2 + y**2 < 0.7) * (1 + 0.5 * torch.cos(9 * x) * torch.sin(7 * y))).to(torch.complex64)[None]
    scan = rv.simulate(image, maps=maps, acceleration=6, snr_db=30.0, seed=0)
    return scan.kspace.to(device), rv.SENSE(scan.maps, scan.mask, ndim=2).to(device), scan.noise


def test_image_certificate_and_gradient_are_those_of_the_processor():
    found = []
    for device in ("cpu", "cuda"):
        model = rv.load("brain-2d").to(device)
        y, A, noise = measurements(device)
        recon = model.solve(y, A, tol=1e-4, noise=noise)
        assert recon.certificate.proved and recon.certificate.distance <= 1e-4
        model(y, A, noise).abs().square().sum().backward()
        slope = torch.cat([p.grad.cpu().flatten() for p in model.parameters() if p.grad is not None])
        found.append((recon.image.cpu(), slope))
    (image, slope), (other, same) = found
    assert float((other - image).norm() / image.norm()) < 2e-4  # each is within 1e-4 of the solution
    assert float((same - slope).norm() / slope.norm()) < 1e-2


@pytest.mark.parametrize("dilation", [1, 2])
def test_gradients_of_convolutions_keep_single_precision(dilation):
    x, weight = torch.randn(1, 32, 64, 64, device="cuda"), torch.randn(32, 32, 3, 3, device="cuda")
    found = []
    for one in ((x, weight), (x.double(), weight.double())):
        leaves = [t.clone().requires_grad_() for t in one]
        conv(*leaves, dilation=dilation).square().sum().backward()
        found.append([t.grad for t in leaves])
    for ours, exact in zip(*found, strict=True):
        assert float((ours - exact).norm() / exact.norm()) < 1e-5


@pytest.mark.parametrize("dilation", [1, 2])
def test_convolutions_keep_single_precision_unless_products_do_not(dilation):
    x, weight = torch.randn(1, 32, 64, 64, device="cuda"), torch.randn(32, 32, 3, 3, device="cuda")
    exact = conv(x.double(), weight.double(), dilation=dilation)
    assert float((conv(x, weight, dilation=dilation) - exact).norm() / exact.norm()) < 1e-6
    torch.set_float32_matmul_precision("high")
    try:
        assert float((conv(x, weight, dilation=dilation) - exact).norm() / exact.norm()) < 1e-3
    finally:
        torch.set_float32_matmul_precision("highest")


def test_norm_of_a_kernel_is_a_little_above_that_of_the_processor():
    weight = torch.randn(40, 40, 3, 3)
    below, above = conv_norm_bound(weight), conv_norm_bound(weight.cuda()).cpu()
    assert below <= above <= 1.001 * below
