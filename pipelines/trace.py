"""What a training told of itself so far, thinned; the catalog keeps it with the run, and whoever looks sees curves."""

from collections.abc import Mapping
from typing import Any

# Points of one kind and stage at most: more than a curve on a screen shows, and 20 kB in the catalog.
LIMIT = 150
_WHERE = ("stage", "step")
# What an event says that is no figure.
_WORDS = frozenset({"event", "stage", "step", "of", "message"})


class Trace:
    """Points of a training's curves, each a mapping of `stage`, `step` and figures such as `loss` or `val_dice`.

    Points with the same figures are thinned together, so that the few validations are not lost among the many
    losses.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], _Thinned] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in a progress event; one without figures, such as that a case was prepared, is none of it."""
        figures = {
            key: value
            for key, value in event.items()
            if key not in _WORDS and isinstance(value, int | float) and not isinstance(value, bool)
        }
        if figures:
            kind = self._kinds.setdefault((str(event.get("stage")), *sorted(figures)), _Thinned())
            kind.add({key: event[key] for key in _WHERE if key in event} | figures)

    @property
    def points(self) -> list[dict[str, Any]]:
        """All points, kind by kind."""
        return [point for kind in self._kinds.values() for point in kind.points]


class _Thinned:
    """Every n-th of the points that came, n as large as LIMIT asks for, and the newest one."""

    def __init__(self) -> None:
        self._kept: list[dict[str, Any]] = []
        self._every = 1
        self._came = 0
        self._newest: dict[str, Any] = {}

    def add(self, point: dict[str, Any]) -> None:
        if self._came % self._every == 0:
            self._kept.append(point)
            if len(self._kept) >= LIMIT:
                self._kept = self._kept[::2]
                self._every *= 2
        self._came += 1
        self._newest = point

    @property
    def points(self) -> list[dict[str, Any]]:
        known = self._kept[-1] is self._newest
        return self._kept if known else [*self._kept, self._newest]
