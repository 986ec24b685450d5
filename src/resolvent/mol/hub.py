"""Models on the Hugging Face Hub: two files are fetched, neither of which can hold code."""

from __future__ import annotations

from pathlib import Path

from resolvent._errors import ModelError


def fetched(name: str, files: tuple[str, ...]) -> Path:
    """The folder with `files` of the repository ``owner/name`` or ``owner/name@revision``, or its copy in the cache.

    Only these files are requested. They are checked when they are read, as in any folder. Name a revision (a commit) if
    the model must never change.

    Raises:
        ModelError: huggingface_hub is not installed, or the files could not be fetched.
    """
    repository, _, revision = name.partition("@")
    try:
        from huggingface_hub import snapshot_download  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ModelError(
            f"there is no model {name!r} here, and Hugging Face, where it may be, needs the package huggingface_hub. "
            "Correct the name, or run: pip install 'resolvent[hub]'."
        ) from None
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(files)))
    except Exception as error:  # errors of the network, the Hub and the cache have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"there is no model {name!r} here, and it could not be fetched from Hugging Face: {reason}. "
            "Correct the name, or try again where there is a network."
        ) from error
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise ModelError(
            f"{name} on Hugging Face lacks {' and '.join(missing)}. Upload the folder that `resolvent.save` wrote."
        )
    return folder
