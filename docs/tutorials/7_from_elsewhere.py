"""
With other libraries
====================

You may already have code and files of BART, SigPy, MRpro or deepinv. This page says what corresponds to what, uses
their operators in this library, and checks the result where the other library is installed.
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
# Arrays of SigPy only lack a batch axis. SENSE of SigPy and SENSE of this library agree on the same maps:

scan = rv.simulate(torch.ones(48, 40), n_coils=4, acceleration=3, seed=0)
A = scan.operator()
theirs = mr.linop.Sense(scan.maps[0].numpy(), weights=scan.mask[0].numpy())
ours = A.adjoint(scan.kspace)[0]
other = torch.from_numpy(theirs.H(scan.kspace[0].numpy()))
print(f"A^H y differs by {((ours - other).norm() / ours.norm()).item():.0e}")

# %%
# The result of ``sigpy.mri.app.SenseRecon(y, maps, lamda=0.01).run()`` is ``rv.sense(y, A, weight=1 / 0.01)``.
# Wavelets (``L1WaveletRecon``) and total variation (``TotalVariationRecon``) are also available here, see :doc:`the
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
# Any operator of SigPy can be used here. You must prove the bound of its norm, since the certificate rests on it:
# 1 for a mask, an orthonormal transform and maps of unit sum of squares. Two optional arguments make the model treat it
# like an operator of ours:
#
# - ``support``: the model leaves the image empty where no map reaches.
# - ``frequency``: how far each sample is from the middle of k-space. Samples that no image explains then count less.
#
# The network is conditioned on the result of linear solves, to ``linear_tol``. With an accurate one it no longer
# matters how each operator solves them.

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
# SigPy computes with NumPy, one sample after the other: gradients reach k-space and the model, but not the maps. Use
# our operators for training. Maps of ``EspiritCalib``, saved with ``numpy.save``, are read directly, ``(coil, y, x)``:
# ``rv.SENSE(resolvent.data.io.read_maps("maps.npy"), mask)``.
#
# MRpro
# -----
# Arrays of MRpro are ``(batch, coil, z, y, x)``; its images, too, with one coil. Here the image has no coil axis, and z
# of a 2-D scan is a lead axis of length 1.
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
# ``pytest tests/interop/test_mrpro.py`` compares image and gradient with ours if MRpro is installed.

# %%
# BART
# ----
# ``.cfl`` files are read and written directly, with the order of the axes reversed: ``(x, y, z, coil)`` there is
# ``(batch, coil, y, x)`` here. Pass maps of ``bart ecalib``, one set or two, with ``--maps``, or read them with
# ``resolvent.data.io.read_maps("maps.cfl")``.
#
# .. code-block:: text
#
#    bart ecalib -m1 kspace maps
#    resolvent recon kspace.cfl --maps maps.cfl -o image.cfl
#    bart toimg image image.png
#
# ``bart pics -l2 -r 0.01 kspace maps image`` is SENSE with a quadratic regulariser, like ``rv.sense``; ``bart pics -R
# W:3:0:0.01`` is the wavelet reconstruction that ``resolvent evaluate --baselines`` runs.

rv.write(scan, "out/kspace.cfl")
print(torch.equal(rv.read("out/kspace.cfl").kspace, scan.kspace))

# %%
# deepinv
# -------
# deepinv stores complex images as two real channels: ``to_channels`` converts to them, ``to_complex`` back. A
# ``LinearPhysics`` is an operator here, a model from here is a reconstructor there. For ``MRI`` and ``MultiCoilMRI``
# the bound of the norm follows from mask and maps; for other physics you must give it. The value of
# ``physics.compute_norm`` is not a bound: it is an estimate from below.

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
# ``deepinv.Trainer(model=DeepinvReconstructor(model), physics=physics, ...)`` trains the model, with the implicit
# gradient of this library. Each call makes a new operator from a copy of the physics, so that ``physics.update``
# between forward and backward does no harm. The noise level comes from a noise model with a ``sigma``; otherwise it is
# estimated from multi-coil k-space, or passed: ``reconstructor(y, physics, noise=0.01)``.
#
# Hugging Face
# ------------
# A model is a folder of two files, ``model.safetensors`` and ``model.json``. Neither can hold code, and their claims
# are compared with the weights, wherever they came from. The names that other libraries use call the same functions:

folder = model.save_pretrained("out/mine")  # rv.save
print(rv.MOL.from_pretrained(folder).identity["name"])  # rv.load

# %%
# ``hf upload owner/mine out/mine`` uploads it to the Hub. ``rv.load("owner/mine")`` fetches only those two files, as
# does ``resolvent recon --model owner/mine``; ``owner/mine@COMMIT`` is a model that never changes.
# This needs ``pip install 'resolvent[hub]'``. A name that may be a local folder is never looked up on the Hub.
