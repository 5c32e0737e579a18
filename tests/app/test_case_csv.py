"""The CSV of cases: one line each, a class's cell says who drew it or why it is not there."""

import io
from datetime import UTC, datetime

from app.case_csv import write_cases
from curation.labels import CLASS_NAMES
from db.models import Role, VersionKind
from db.queries import CaseRow


def test_a_case_is_one_line_with_a_cell_per_class():
    classes = {name: {"status": "missing", "origin": None} for name in CLASS_NAMES}
    classes["liver"] = {"status": "annotated", "origin": "pseudo"}
    row = CaseRow(
        1, 'KiTS/a "1", b', "KiTS", 'a "1", b', 2, 7, VersionKind.COMPLEMENTED, datetime.now(UTC), 1, 1, Role.TEST, "p",
        None, (9, 9, 9), (1.0, 1.0, 1.0), None, False, False, False, False, classes,
    )  # fmt: skip
    out = io.StringIO()
    write_cases([row], out)
    head, line = out.getvalue().splitlines()
    assert head.startswith("case,version,labels,organs,role,patient,licence,liver,right_kidney")
    assert line == '"KiTS/a ""1"", b",2,1,1,test,p,,pseudo' + ",missing" * 13
