"""Model cards as pages, from the JSON files beside the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generated import table

from dmic_gym.agents.policy.shipped import SHIPPED_POLICIES
from dmic_gym.tasks.segmenters.weights import SHIPPED

_NAMES_SHOWN = 8
_MINUS = "\N{MINUS SIGN}"


def policies() -> str:
    """Return the cards of the shipped policies."""
    return "\n\n".join(_policy(card) for card in _cards(SHIPPED_POLICIES))


def segmenters() -> str:
    """Return the cards of the shipped segmenters that stand alone."""
    cards = [card for card in _cards(SHIPPED) if "architecture" in card]
    return "\n\n".join(_segmenter(card) for card in cards)


def folders() -> str:
    """Return the shipped folders of several networks, each for what it has not seen."""
    found = [path for path in sorted(SHIPPED.iterdir()) if path.is_dir()]
    return "\n\n".join(_folder(path) for path in found)


def posteriors() -> str:
    """Return the shipped calibrated posteriors."""
    return "\n\n".join(_posterior(card) for card in _cards(SHIPPED) if "members" in card)


def _cards(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield json.loads(path.read_text())


def _policy(card: Mapping[str, Any]) -> str:
    arguments, metrics = card["arguments"], card["metrics"]
    share = metrics.get("trainable_share")
    facts = {
        "class": f"`{card['architecture']}`",
        "CTU size": str(arguments.get("ctu_size")),
        "steps of A2C": f"{metrics.get('a2c_steps', 0):,}",
        "parameters trained": "" if share is None else f"{share:.1%}",
        "started from": _code(metrics.get("start")),
        "reward": _code(metrics.get("reward")),
    }
    rows = [_bd_rate(found) for found in metrics.get("bd_rates", ())]
    head = ("images", "CTU", "base QPs", "BD-rate, 95 % interval", "second network")
    judged = [table(head, rows)] if rows else []
    return "\n\n".join([*_head(card), _facts(facts), *judged, *_tail(card)])


def _bd_rate(found: Mapping[str, Any]) -> tuple[str, ...]:
    second = found.get("second_segmenter_bd_rate_percent")
    return (
        f"`{found['data']}`, {found['images']}",
        str(found["ctu_size"]),
        str(found["base_qps"]),
        f"{_percent(found['bd_rate_percent'])}{_interval(found.get('ci95'))}",
        "not asked" if second is None else _percent(second),
    )


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.1f} %".replace("-", _MINUS)


def _interval(ends: Sequence[float] | None) -> str:
    if not ends:
        return ""
    return f" ({ends[0]:+.1f} to {ends[1]:+.1f})".replace("-", _MINUS)


def _segmenter(card: Mapping[str, Any]) -> str:
    metrics = card["metrics"]
    words = ", ".join(f"`{name}={value}`" for name, value in card["arguments"].items())
    facts = {
        "network": f"{card['architecture']} {words}".strip(),
        "images learned from": str(metrics.get("samples", "")),
        "Dice": _dice(metrics),
        "judged on": ", ".join(map(_code, metrics.get("test_data", ()))),
        "looks at them": " ".join(metrics.get("looks_at_test", ())),
    }
    return "\n\n".join([*_head(card), _facts(facts), *_tail(card)])


def _dice(metrics: Mapping[str, Any]) -> str:
    if "test_dice" not in metrics:
        return ""
    ends = metrics.get("test_interval")
    between = f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
    return f"{metrics['test_dice']:.3f}{between}"


def _folder(path: Path) -> str:
    cards = list(_cards(path))
    whole = next((card for card in cards if card["name"] == path.name), None)
    if whole is not None:
        return _segmenter(whole)
    rows = [
        (f"`{card['name']}`", card["architecture"], str(len(card["metrics"].get("held_out", ()))))
        for card in cards
    ]
    return f"### {path.name}\n\n" + table(("network", "", "images it has not seen"), rows)


def _posterior(card: Mapping[str, Any]) -> str:
    facts = {
        "networks": ", ".join(map(_code, card["members"])),
        "images": str(card["images"]),
        "calibration error before, after": f"{card['calibration_error_raw']:.4f}, "
        f"{card['calibration_error']:.4f}",
        "expected Dice, Dice found": f"{card['expected_dice']:.3f}, {card['held_out_dice']:.3f}",
    }
    return "\n\n".join([*_head(card), _facts(facts), *_tail(card)])


def _head(card: Mapping[str, Any]) -> list[str]:
    data = "; ".join(f"`{words}`" for words in card["data"][:_NAMES_SHOWN])
    return [f"### {card['name']}", f"Learned from {data}."]


def _tail(card: Mapping[str, Any]) -> list[str]:
    notes = "\n".join(f"- {note}" for note in card.get("notes", ()))
    command = f"```sh\n{card['command']}\n```" if card.get("command") else ""
    made = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    hashed = f"SHA-256 `{card['sha256']}`; " if "sha256" in card else ""
    return [part for part in (notes, command, f"<small>{hashed}{made}</small>") if part]


def _facts(facts: Mapping[str, str]) -> str:
    return table(("", ""), [(name, text) for name, text in facts.items() if text])


def _code(text: object) -> str:
    return "" if text is None else f"`{text}`"


CARDS: Mapping[str, Callable[..., str]] = {
    made.__name__: made for made in (policies, segmenters, folders, posteriors)
}
