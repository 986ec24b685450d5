"""The command line, one file per command: what is printed and the exit codes, nothing else.

Only typer is imported here. Each command imports what it needs when it runs, so that ``--help`` answers at once.
"""

from typing import Annotated

import typer

from resolvent._version import __version__
from resolvent.cli.adapt import adapt
from resolvent.cli.attack import attack
from resolvent.cli.certify import certify
from resolvent.cli.convert import convert
from resolvent.cli.demo import demo
from resolvent.cli.doctor import doctor
from resolvent.cli.evaluate import evaluate
from resolvent.cli.examples import examples
from resolvent.cli.info import info
from resolvent.cli.recon import recon
from resolvent.cli.send import send
from resolvent.cli.simulate import simulate
from resolvent.cli.train import train
from resolvent.cli.view import view

app = typer.Typer(
    name="resolvent",
    help="MRI reconstruction by monotone operator learning: one solution, and a certificate with every image. "
    "Research use only.",
    epilog="Exit codes: 0 done; 1 the data or the model is at fault; 2 usage error; 3 not converged, a "
    "demanded certificate was refused, or an adaptation brought no improvement.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (demo, recon, view, simulate, info, send, certify, convert, attack, train, adapt, evaluate, doctor):
    app.command(epilog=examples(_command.__name__))(_command)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"resolvent {__version__}")
        raise typer.Exit()
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the program; the entry point of the installed command."""
    app()


__all__ = ["app", "main"]
