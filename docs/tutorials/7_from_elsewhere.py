"""
With other libraries
====================

You have code and files already: of BART, SigPy, MRpro, deepinv. This page says what is called what here, makes
operators of theirs operators of this library, and checks it where the other library is installed.
"""

import sigpy.mri as mr
import torch

import resolvent as rv

# %%
# Axes
# ----
# .. list-table::
#    :header-rows: 1
#    :widths: 16 50 34
#
#    * -
#      - k-space
#      - Fourier transform
#    * - here
#      - ``(batch, coil, *lead, y, x)``, ``(batch, coil, *lead, z, y, x)``
#      - centred, orthonormal
#    * - BART
#      - ``READ, PHASE1, PHASE2, COIL, MAPS, ...``: x, y, z, coil; sixteen axes, the first one runs fastest
#      - ``bart fft -u``: centred, orthonormal
#    * - SigPy
#      - ``(coil, y, x)``, ``(coil, z, y, x)``
#      - ``sigpy.fft``: centred, orthonormal
#    * - MRpro
#      - ``(batch, coil, z, y, x)``, also 2-D
#      - ``FastFourierOp``: centred, orthonormal
#    * - deepinv
#      - ``(batch, 2, coil, y, x)``: real and imaginary part as channels
#      - ``MultiCoilMRI``: centred, orthonormal
#
# SigPy
# -----
# A batch axis is all that is missing. SENSE of SigPy and SENSE of this library agree on the same maps:

scan = rv.simulate(torch.ones(48, 40), n_coils=4, acceleration=3, seed=0)
A = scan.operator()
theirs = mr.linop.Sense(scan.maps[0].numpy(), weights=scan.mask[0].numpy())
ours = A.adjoint(scan.kspace)[0]
other = torch.from_numpy(theirs.H(scan.kspace[0].numpy()))
print(f"A^H y differs by {((ours - other).norm() / ours.norm()).item():.0e}")

# %%
# What ``sigpy.mri.app.SenseRecon(y, maps, lamda=0.01).run()`` gives is ``rv.sense(y, A, weight=1 / 0.01)``.
# Wavelets (``L1WaveletRecon``) and total variation (``TotalVariationRecon``) are here, too, see :doc:`the
# comparison with them </evaluate>`. ESPIRiT maps (``EspiritCalib``) are estimated where a scan has none.

image = torch.from_numpy(
    mr.app.SenseRecon(
        scan.kspace[0].numpy(), scan.maps[0].numpy(), lamda=0.01, show_pbar=False
    ).run()
)
mine = rv.sense(scan.kspace, A, weight=100.0)[0]
print(
    f"regularised SENSE differs by {((mine - image).norm() / mine.norm()).item():.0e}"
)

# %%
# Any operator of SigPy is an operator here. The bound of its norm is yours to prove, since the certificate rests on it:
# 1 for a mask, an orthonormal transform and maps of unit sum of squares. Where no map reaches, a model leaves the image
# empty if it is told (``support``), as it does with ours, and samples that no image explains count less if it is told
# how far from the middle of k-space each is (``frequency``). What the network is conditioned on comes from linear
# solves, to ``linear_tol``; with an accurate one nothing is left of how each operator solves them.

from resolvent.interop import from_sigpy

model = rv.load("brain-2d")
model.linear_tol = 1e-5
B = from_sigpy(theirs, norm=1.0, support=A.support, frequency=A.frequency)
with_theirs = model.solve(scan.kspace, B, noise=scan.noise, tol=1e-4)
with_ours = model.solve(scan.kspace, A, noise=scan.noise, tol=1e-4)
print(
    f"the same image, to {((with_theirs.image - with_ours.image).norm() / with_ours.image.norm()).item():.0e}"
)
print(with_theirs)

# %%
# SigPy computes with NumPy, one sample after the other: gradients reach k-space and the model, but not the maps. Train
# with ours. Maps of ``EspiritCalib``, saved with ``numpy.save``, are read as they are, ``(coil, y, x)``:
# ``rv.SENSE(resolvent.data.io.read_maps("maps.npy"), mask)``.
#
# MRpro
# -----
# Its arrays are ``(batch, coil, z, y, x)``, images too, with one coil. Here the image has no coil axis, and z of a
# 2-D scan is a lead axis of length 1.
#
# .. code-block:: python
#
#    from mrpro.operators import CartesianMaskingOp, FastFourierOp, SensitivityOp
#
#    from resolvent.interop import from_mrpro
#
#    theirs = CartesianMaskingOp(mask) @ FastFourierOp(dim=(-2, -1)) @ SensitivityOp(maps)  # maps (b, coil, 1, y, x)
#    B = from_mrpro(theirs, norm=1.0, batch=len(maps))
#    x = model(kspace, B)  # (b, 1, y, x)
#
# ``pytest tests/interop/test_mrpro.py`` compares image and gradient with ours where MRpro is installed.

# %%
# BART
# ----
# ``.cfl`` files are read and written as they are, the axes turned round on the way: ``(x, y, z, coil)`` there is
# ``(batch, coil, y, x)`` here. Maps of ``bart ecalib``, one set or two, are passed with ``--maps``, or read by
# ``resolvent.data.io.read_maps("maps.cfl")``.
#
# .. code-block:: text
#
#    bart ecalib -m1 kspace maps
#    resolvent recon kspace.cfl --maps maps.cfl -o image.cfl
#    bart toimg image image.png
#
# ``bart pics -l2 -r 0.01 kspace maps image`` is SENSE with a quadratic regulariser, as ``rv.sense``; ``bart pics -R
# W:3:0:0.01`` is the wavelet reconstruction that ``resolvent evaluate --baselines`` runs.

rv.write(scan, "out/kspace.cfl")
print(torch.equal(rv.read("out/kspace.cfl").kspace, scan.kspace))

# %%
# deepinv
# -------
# Complex images are two real channels there: ``to_channels`` goes there, ``to_complex`` comes back. A ``LinearPhysics``
# is an operator here, a model from here is a reconstructor there. For ``MRI`` and ``MultiCoilMRI`` the bound of the
# norm follows from mask and maps; for other physics it must be given. What ``physics.compute_norm`` returns will not
# do: it is an estimate from below.

from importlib.util import find_spec

from resolvent.interop import (
    DeepinvReconstructor,
    from_deepinv,
    to_channels,
    to_complex,
)

if find_spec("deepinv"):
    import deepinv

    physics = deepinv.physics.MultiCoilMRI(mask=scan.mask[:, None], coil_maps=scan.maps)
    through = model.solve(
        scan.kspace, from_deepinv(physics), noise=scan.noise, tol=1e-4
    )
    print(
        f"the same image, to {((through.image - with_ours.image).norm() / with_ours.image.norm()).item():.0e}"
    )

    reconstructor = DeepinvReconstructor(model)
    x = to_complex(reconstructor(to_channels(scan.kspace), physics))
    print(tuple(x.shape))
else:
    print("deepinv is not installed here")

# %%
# ``deepinv.Trainer(model=DeepinvReconstructor(model), physics=physics, ...)`` trains it: the gradient is the implicit
# one of this library. The operator is made anew in each call, of a copy of the physics, so that ``physics.update``
# between forward and backward does no harm. A noise model with a ``sigma`` says the noise level; elsewhere it is
# estimated from multi-coil k-space, or passed: ``reconstructor(y, physics, noise=0.01)``.
#
# Hugging Face
# ------------
# A model is a folder of two files, ``model.safetensors`` and ``model.json``: neither can hold code, and what they claim
# is compared with the weights, wherever they came from. The names that other libraries use are the same functions:

folder = model.save_pretrained("out/mine")  # rv.save
print(rv.MOL.from_pretrained(folder).identity["name"])  # rv.load

# %%
# ``hf upload owner/mine out/mine`` puts it on the Hub. ``rv.load("owner/mine")`` fetches those two files from there and
# nothing else, as does ``resolvent recon --model owner/mine``; ``owner/mine@COMMIT`` is a model that never changes.
# That needs ``pip install 'resolvent[hub]'``. A name that may be a folder here is never asked for there.
