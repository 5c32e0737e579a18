"""Where npm put NiiVue, the viewer's engine, and which version it is; `make` installs what package-lock.json names."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1] / "node_modules" / "@niivue" / "niivue"
INSTALL = "make node_modules"


@dataclass(frozen=True)
class Niivue:
    """An installed NiiVue: its version, and its one file for browsers."""

    version: str
    file: Path

    @property
    def address(self) -> str:
        """The route that gives it. It names the version, so browsers may keep what they got."""
        return f"/viewer/niivue-{self.version}.js"


def installed() -> Niivue | None:
    """What npm installed; None if it did not."""
    file = _PACKAGE / "dist" / "index.js"
    try:
        version = json.loads((_PACKAGE / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None
    return Niivue(str(version), file) if file.is_file() else None


@cache
def packed(file: Path) -> bytes:
    """The file gzipped, once for as long as the server runs: 3 MB of text."""
    return gzip.compress(file.read_bytes(), 6)
