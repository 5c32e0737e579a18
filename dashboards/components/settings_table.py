"""Nested settings, such as a run's parameters or a model's profile, as a table that leaves nothing out."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dashboards.components.markup import Html, table


def settings_table(settings: Mapping[str, Any], label: str) -> Html:
    """A row per setting; names within names are joined by points."""
    rows = [(Html(f"<code>{name}</code>") if _is_word(name) else name, text) for name, text in flat(settings)]
    return table(("Setting", "Value"), rows, label=label)


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str | None]]:
    """Name and value of every setting, in their order; None for what is not set."""
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, _text(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)


def _is_word(name: str) -> bool:
    return name.replace(".", "").replace("_", "").isalnum() and name.isascii()
