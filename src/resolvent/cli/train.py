"""``resolvent train``: train a model, with its card, from a configuration file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from resolvent._errors import ResolventError
from resolvent._version import __version__
from resolvent.cli.output import INTERRUPTED, Debug, Json, complain, emit, reporting

STOPPED = {"SIGTERM": 143, "SIGINT": INTERRUPTED}
"""Exit codes of a run that a signal ended after a checkpoint; the same command continues it."""


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.yaml", help="Settings of the run.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Folder of the run; runs/NAME by default. A run in it is continued."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. optimiser.steps=500.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the settings, and exit.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model, or continue a run that was stopped.

    The folder of the run holds the settings with all defaults, logs (CSV and TensorBoard), checkpoints, and at the end
    the model that was best on the validation subjects, with its card. A run that is ended by SIGTERM or Ctrl-C writes a
    checkpoint first (exit code 143 or 130). Needs the extra `train`: pip install 'resolvent[train]'.
    """
    with reporting(as_json=as_json, debug=debug):
        try:
            from resolvent.train import Config, read_config
            from resolvent.train import train as run
        except ModuleNotFoundError as error:
            raise ResolventError(
                f"{error.name} is not installed. Install what training needs: pip install 'resolvent[train]'."
            ) from None
        if schema:
            typer.echo(json.dumps(Config.model_json_schema(), indent=2))
            return
        if config is None:
            raise typer.BadParameter("give a file of settings, or --schema.", param_hint="CONFIG.yaml")
        settings = read_config(config, changes or [])
        folder = output or Path("runs") / settings.name
        found = run(settings, folder, say=complain, bar=sys.stderr.isatty())
        if as_json:
            emit({"version": __version__, "output": str(folder), **found})
        elif found["model"]:
            typer.echo(
                f"{found['model']}: {found['psnr']:.2f} dB on the validation scans (SENSE {found['psnr_sense']:.2f}), "
                f"chosen at step {found['chosen_at']} of {found['steps']}"
            )
        if found["signal"]:
            complain(
                f"stopped by {found['signal']} after step {found['steps']}; the same command continues from there."
            )
            raise typer.Exit(STOPPED[found["signal"]])
