"""Optional packages for files and archives, imported when used; an error says how to install a missing one."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from resolvent._errors import FormatError

MISSING = {
    "pydicom": "DICOM needs the package pydicom, which is not installed. Run: pip install 'resolvent[dicom]'.",
    "pynetdicom": "Archives need the package pynetdicom, which is not installed. Run: pip install 'resolvent[dicom]'.",
    "twixtools": "Twix needs the package twixtools, which is not installed. Run: pip install 'resolvent[siemens]'.",
    "ismrmrd": "MRD images need the package ismrmrd, which is not installed. Run: pip install 'resolvent[mrd]'.",
    "mrd": "MRD streams need the package mrd-python, which is not installed. Run: pip install 'resolvent[mrd]'.",
}


def package(name: str) -> Any:
    """The package of that name.

    Raises:
        FormatError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the package itself
            return import_module(name)
    except ImportError as error:
        raise FormatError(MISSING[name]) from error
