"""Models on the Hugging Face Hub: two files are fetched, none of which can hold code."""

from __future__ import annotations

from pathlib import Path

from resolvent._errors import ModelError


def fetched(name: str, files: tuple[str, ...]) -> Path:
    """The folder with `files` of the repository ``owner/name`` or ``owner/name@revision``, or its copy in the cache.

    Only these files are asked for. They are checked where they are read, as those of any folder; name a revision (a
    commit) where the model must never change.

    Raises:
        ModelError: huggingface_hub is not installed, or the files could not be had.
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
    except Exception as error:  # the network's, the Hub's and the cache's have no base in common
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
