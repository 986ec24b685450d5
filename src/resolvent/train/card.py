"""The card of a trained model: what it was trained on, what it reached, what is proved about it."""

from __future__ import annotations

import json
from typing import Any

from resolvent.train.config import Config


def make_card(config: Config, reached: dict[str, Any]) -> dict[str, Any]:
    """What `resolvent.save` writes beside the weights.

    Args:
        config: the run.
        reached: steps, validation PSNR, number of validation subjects and so on, and whether any scan was measured.
    """
    return {
        **config.card.model_dump(),
        "training": json.loads(config.model_dump_json(exclude={"card", "threads", "checkpoint_minutes"}))
        | {"data": json.loads(config.data.model_dump_json(exclude={"folder", "workers"}))},
        "reached": reached,
    }


def readme(description: dict[str, Any]) -> str:
    """The card as a readable page, from the ``model.json`` that was written."""
    card, claims = description["card"], description.get("claims") or {}
    reached, training = card["reached"], card["training"]
    proved = (
        f"Tier: **{claims['tier']}**; m = {claims['m']:g}, c = {claims['c']:g}, r = {claims['r']:g} "
        f"({claims['kind']}); lam = {claims['lam']:g} without noise."
        if "m" in claims
        else "Nothing: an unrolled or plain network, for comparison."
    )
    scans = "scans" if reached["measured"] else "simulated scans"
    lines = [
        f"# {description['name']}",
        "",
        card["purpose"] or "A reconstruction model.",
        "",
        "Research use only.",
        "",
        "## What is proved",
        "",
        proved + " These constants are recomputed from the weights when the model is loaded.",
        "",
        "## Trained on",
        "",
        *(f"- {source}" for source in card["sources"] or training["data"]["train"]),
        "",
        f"{reached['steps']} steps of {training['data']['batch']} {scans}; chosen at step {reached['chosen_at']} by "
        f"the mean PSNR over subjects ({reached['subjects']} of {', '.join(training['data']['validation'])}): "
        f"{reached['psnr']:.2f} dB on {training['validation']['scans']} {scans} of the kind trained on, where SENSE "
        f"has {reached['psnr_sense']:.2f} dB.",
        "",
        "## Limits",
        "",
        card["limits"] or "Not known.",
        "",
        f"Weights: SHA-256 `{description['sha256']}`. Everything else: `model.json`.",
    ]
    return "\n".join(lines) + "\n"
