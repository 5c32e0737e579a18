"""docs/findings.md names every check, and no other."""

import re
from pathlib import Path

from curation.later_checks import LATER_CHECKS, Judged
from curation.protocol import OUTSIDE_PROTOCOL
from curation.quality import CHECKS

DOCUMENT = Path(__file__).parents[2] / "docs" / "findings.md"
OF_SIDES = {"side_unresolved", "side_from_geometry"}


def rows() -> dict[str, list[str]]:
    """Check to the cells of its row."""
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {check: [cell.strip() for cell in cells.split("|")] for check, cells in lines}


def test_every_check_has_its_row():
    assert set(rows()) == {*CHECKS, *LATER_CHECKS, *OF_SIDES, OUTSIDE_PROTOCOL}


def test_what_a_later_check_judges_is_what_the_program_goes_by():
    said = {check: cells[-1] for check, cells in rows().items() if check in LATER_CHECKS}
    assert said == {check: judged.value for check, judged in LATER_CHECKS.items()}
    assert set(said.values()) <= {judged.value for judged in Judged}
