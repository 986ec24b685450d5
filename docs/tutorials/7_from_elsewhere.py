"""
With other libraries
====================

You have code and files already, of BART, SigPy, deepinv or MRpro. This page says what is called what here, how their
operators are used here, and models from here there.
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
#    * - deepinv
#      - ``(batch, 2, coil, y, x)``: real and imaginary part as channels
#      - ``MultiCoilMRI``: centred, orthonormal
#    * - MRpro
#      - ``(*batch, coil, k2, k1, k0)``
#      - ``FourierOp``: centred, orthonormal
#
# SigPy
# -----
# A batch axis is all that is missing. SENSE of SigPy and SENSE of this library agree on the same maps:

scan = rv.simulate(torch.ones(48, 40), n_coils=4, acceleration=3, seed=0)
A = rv.SENSE(scan.maps, scan.mask)
theirs = mr.linop.Sense(scan.maps[0].numpy(), weights=scan.mask[0].numpy())
ours = A.adjoint(scan.kspace)[0]
other = torch.from_numpy(theirs.H(scan.kspace[0].numpy()))
print(f"A^H y differs by {((ours - other).norm() / ours.norm()).item():.0e}")

# %%
# What ``sigpy.mri.app.SenseRecon(y, maps, lamda=0.01).run()`` gives is ``rv.sense(y, A, weight=1 / 0.01)``.
# Wavelets (``L1WaveletRecon``) and total variation (``TotalVariationRecon``) are here, too, see :doc:`the
# comparison with them </evaluate>`. ESPIRiT maps (``EspiritCalib``) are estimated where a scan has none.

image = torch.from_numpy(
    mr.app.SenseRecon(scan.kspace[0].numpy(), scan.maps[0].numpy(), lamda=0.01, show_pbar=False).run()
)
mine = rv.sense(scan.kspace, A, weight=100.0)[0]
print(f"regularised SENSE differs by {((mine - image).norm() / mine.norm()).item():.0e}")

# %%
# An operator of SigPy becomes one of this library, for each sample of a batch. A bound of its norm must be given, and
# proved, since certificates rest on it: 1 for a mask, an orthonormal transform and maps of unit sum of squares.

from resolvent.interop import from_sigpy

model = rv.load("brain-2d")
B = from_sigpy(theirs, norm=1.0, support=A.support)
with_theirs = model.solve(scan.kspace, B, noise=scan.noise, tol=1e-4)
with_ours = model.solve(scan.kspace, A, noise=scan.noise, tol=1e-4)
print(f"the same image, to {((with_theirs.image - with_ours.image).norm() / with_ours.image.norm()).item():.0e}")

# %%
# Maps of ``EspiritCalib``, saved by ``numpy.save``, are read as they are: ``resolvent recon scan.h5 --maps maps.npy``.
#
# %%
# BART
# ----
# ``.cfl`` files are read and written as they are; maps of ``bart ecalib`` are passed with ``--maps``.
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
# Complex images are two real channels there. A ``LinearPhysics`` becomes an operator here, and a model from here a
# ``Reconstructor`` there, which deepinv's ``Trainer`` trains; linear solves and gradients stay those of this library:
#
# .. code-block:: python
#
#    from resolvent.interop import DeepinvReconstructor, from_deepinv, to_channels, to_complex
#
#    physics = deepinv.physics.MultiCoilMRI(mask=mask, coil_maps=maps)
#    recon = model.solve(to_complex(y), from_deepinv(physics))      # with its certificate
#
#    reconstructor = DeepinvReconstructor(model)                    # reconstructor(y, physics)
#    deepinv.Trainer(model=reconstructor, physics=physics, losses=deepinv.loss.SupLoss(), ...).train()
#
# The norm of ``MRI`` and ``MultiCoilMRI`` is known from mask and maps. For other physics it is given, ``norm=``; what
# ``physics.compute_norm`` returns is an estimate from below, and no bound. The noise level is that of the noise model
# of the physics, else it is estimated from k-space.
#
# MRpro
# -----
# An image has an axis of coils of length 1 there, and is 3-D: ``(batch, 1, z, y, x)``, here ``(batch, z, y, x)``.
#
# .. code-block:: python
#
#    from resolvent.interop import from_mrpro
#
#    operator = kdata_fourier_op @ mrpro.operators.SensitivityOp(csm)
#    recon = model.solve(kdata.data, from_mrpro(operator, norm=1.0), noise=sigma)
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
