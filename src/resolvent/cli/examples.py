"""Examples for ``--help``. Each of them is also in README or the documentation, where it runs as a test."""

EXAMPLES = {
    "demo": ("resolvent demo",),
    "recon": (
        "resolvent recon demo/scan.h5 -o brain.nii.gz --report brain.html",
        "resolvent recon scan.h5 -o scan.png --tol 1e-3 --json",
        "resolvent recon brain.h5 scan.h5 -o out --json",
        "resolvent recon full.h5 -o retro.nii.gz --acceleration 4 --mask-kind gaussian2d --seed 1",
    ),
    "view": ("resolvent view brain.nii.gz",),
    "simulate": ("resolvent simulate demo/demo.nii.gz -o scan.h5 --coils 8 --acceleration 6",),
    "info": ("resolvent info demo/scan.h5",),
    "send": ("resolvent send series --to dicom://127.0.0.1:4242/ORTHANC",),
    "certify": ("resolvent certify brain-2d", "resolvent certify brain-2d scan.h5 --steps 10 --json"),
    "convert": ("resolvent convert model.pth.tar -o converted",),
    "attack": ("resolvent attack brain-2d brain.h5 --steps 4",),
    "train": ("resolvent train mine.yaml --set optimiser.steps=4 --set validation.scans=2",),
    "adapt": ("resolvent adapt scan.h5 -o adapted --steps 4",),
    "evaluate": (
        "resolvent evaluate brain-2d --data volume.nii.gz --size 32 --coils 4 --acceleration 4 --slices 1 -o results",
    ),
    "doctor": ("resolvent doctor", "resolvent doctor --json"),
}


def examples(command: str) -> str:
    """The end of a command's help: one example a line, not rewrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[command])])
