"""What is drawn outside the protocol is found, with its volume; what nobody stated contradicts nothing."""

from curation.protocol import OUTSIDE_PROTOCOL, outside_protocol
from curation.status import Severity

LIVER, RIGHT_KIDNEY, SPLEEN, RIGHT_ADRENAL, LEFT_KIDNEY = 1, 2, 3, 7, 13
KIDNEY, ADRENAL, IGNORE = 200, 201, 255


def test_a_class_that_the_protocol_does_not_name_is_a_warning_with_its_millilitres():
    (finding,) = outside_protocol({LIVER: 40, SPLEEN: 30, IGNORE: 5}, {LIVER}, 0.01)
    # 30 voxels of 0.01 ml.
    assert (finding.check, finding.severity, finding.class_id) == (OUTSIDE_PROTOCOL, Severity.WARNING, SPLEEN)
    assert (round(finding.value, 6), finding.limit) == (0.3, 0.0)
    assert finding.message.startswith("Spleen is drawn, 0.30 ml, but the protocol does not name it")


def test_a_pair_without_a_side_is_outside_only_where_neither_side_is_named():
    voxels = {KIDNEY: 20, ADRENAL: 10}
    (finding,) = outside_protocol(voxels, {LEFT_KIDNEY}, 0.01)
    assert finding.class_id == RIGHT_ADRENAL
    assert finding.message.startswith("Adrenal without a side is drawn, 0.10 ml")


def test_without_a_protocol_nothing_is_outside_and_one_that_names_nothing_excludes_all():
    assert outside_protocol({LIVER: 40}, None, 0.01) == ()
    assert [f.class_id for f in outside_protocol({LIVER: 40, SPLEEN: 1}, (), 0.01)] == [LIVER, SPLEEN]
