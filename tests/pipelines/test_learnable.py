"""What is said of a student's dataset before it is trained: four strong cases, six with a tumor alone."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from curation.errors import CurationError
from curation.geometry import Geometry
from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.status import Evidence, Origin, Status
from db.case_files import CaseFile
from db.models import ModelKind, Role, Split
from db.writes import AnnotationValues, MemberValues
from pipelines.freeze import FreezeRequest, freeze
from pipelines.learnable import Known, check_student
from pipelines.profiles import Profile, StudentProfile, StudentStage
from pipelines.train import TrainRequest, train

ORIGINS = (Origin.ORIGINAL, Origin.CORRECTED, Origin.PSEUDO)


def student(missing: Any = "background", flips: str = "") -> StudentProfile:
    stage = StudentStage(size=(17, 17, 17), channels=(4, 4, 4, 4, 4), epochs=1, flips=flips)
    return StudentProfile(coarse=stage, fine=stage, missing=missing)


def row(class_id: int, origin: Origin | None) -> AnnotationValues:
    """A class that is drawn, or of which nobody knows."""
    status = Status.MISSING if origin is None else Status.ANNOTATED
    return AnnotationValues(class_id=class_id, status=status, evidence=Evidence.VOXELS, origin=origin)


def member(name: str, drawn: Iterable[int], split: Split = Split.TRAIN) -> tuple[CaseFile, MemberValues]:
    """A case in which `drawn` were drawn by its publisher and the other classes are missing."""
    annotations = {c: row(c, Origin.ORIGINAL if c in drawn else None) for c in CLASS_IDS}
    case = CaseFile(
        0, f"S/{name}", 0, 1, Role.TRAIN, name, None, None, None, Geometry((1, 1, 1), np.eye(4)), annotations
    )
    return case, MemberValues(0, 0, split)


STRONG = [member(f"C{n}", ORGAN_IDS) for n in range(4)]
TUMOR_ALONE = [member(f"C{n}", {14}) for n in range(4, 10)]


def with_pseudo(pair: tuple[CaseFile, MemberValues], *class_ids: int) -> tuple[CaseFile, MemberValues]:
    """The member with classes drawn by a model."""
    case, values = pair
    drawn = {c: row(c, Origin.PSEUDO) for c in class_ids}
    return dataclasses.replace(case, annotations=case.annotations | drawn), values


def test_where_all_is_drawn_and_known_nothing_is_said_but_what_misses():
    assert check_student("d@1", student("marginal"), [*STRONG, *TUMOR_ALONE], ORIGINS) == []
    assert check_student("d@1", student(), [*STRONG, *TUMOR_ALONE], ORIGINS) == [
        "note: 10 training cases miss classes that others have, and teach them as background; "
        'missing = "marginal" in the profile\'s [student] leaves them open'
    ]


def test_classes_that_no_case_has_are_named():
    (note,) = check_student("d@1", student(), STRONG, ORIGINS)
    assert note == "note: no training case of d@1 has tumor; the student cannot learn what nobody drew"


def test_a_side_is_learned_from_mirrored_patients():
    left = [member("C", set(ORGAN_IDS) - {2, 7})]
    straight = check_student("d@1", student("marginal"), left, ORIGINS)[0]
    mirrored = check_student("d@1", student(flips="x"), left, ORIGINS)[0]
    assert "has right_kidney, right_adrenal_gland or tumor;" in straight
    assert "has tumor;" in mirrored


def test_a_dataset_without_a_training_case_is_refused():
    validating = [member("C", ORGAN_IDS, Split.VAL)]
    with pytest.raises(
        CurationError, match=r"d@1 has no training case, 1 to validate on; freeze it with a smaller"
    ):
        check_student("d@1", student(), validating, ORIGINS)


@pytest.mark.parametrize("missing", ["marginal", "ignore"])
def test_weak_cases_alone_teach_the_coarse_network_no_background(missing):
    """Each of two cases has one organ that the other misses."""
    first, second = TUMOR_ALONE[:2]
    weak = [with_pseudo(first, 1), with_pseudo(second, 3)]
    with pytest.raises(
        CurationError, match=r"d@1: each of its 2 training cases misses an organ, .* complement them"
    ):
        check_student("d@1", student(missing), weak, ORIGINS)
    assert "cannot learn" in check_student("d@1", student(), weak, ORIGINS)[0]


def test_ignore_wants_a_case_of_which_all_is_known():
    """The strong ones do not know of tumors, the others only of tumors; complemented, these know of all."""
    cases = [*STRONG, *TUMOR_ALONE]
    with pytest.raises(
        CurationError, match=r"10 training cases misses a class, and with missing = \"ignore\""
    ):
        check_student("d@1", student("ignore"), cases, ORIGINS)
    complemented = [*cases[:9], with_pseudo(cases[9], *range(1, 14))]
    assert check_student("d@1", student("ignore"), complemented, ORIGINS) == []


def test_a_validation_by_a_models_classes_alone_chooses_no_weights():
    by_model = with_pseudo(member("V", (), Split.VAL), *ORGAN_IDS)
    notes = check_student("d@1", student(), [*STRONG, by_model], ORIGINS)
    assert notes[1:] == [
        "note: what is drawn in the validation cases of d@1 was drawn by a model, "
        "so the last weights are taken, not the best"
    ]


def test_a_class_of_an_origin_that_is_left_out_is_missing_and_not_pseudo():
    case, _ = with_pseudo(TUMOR_ALONE[0], 1)
    assert Known.of(case, Split.TRAIN, ORIGINS).pseudo == {1}
    raw = Known.of(case, Split.TRAIN, (Origin.ORIGINAL,))
    assert raw.pseudo == frozenset()
    assert (raw.drawn, raw.missing) == ({14}, frozenset(range(1, 14)))


def test_a_kidney_without_a_side_is_not_missing_from_the_background():
    case, _ = member("C", {1})
    sides = {c: dataclasses.replace(row(c, None), evidence=Evidence.UNRESOLVED_SIDE) for c in (2, 13)}
    known = Known.of(dataclasses.replace(case, annotations=case.annotations | sides), Split.TRAIN, ORIGINS)
    assert known.missing == set(CLASS_IDS) - {1, 2, 13}


def test_train_refuses_before_anything_is_written(cohort):
    freeze(cohort, FreezeRequest("mixed", "role = train"))
    profile = Profile(name="p", student=student("ignore"))
    with pytest.raises(CurationError, match="mixed@1: each of its 10 training cases misses a class"):
        train(cohort, TrainRequest(ModelKind.STUDENT, "mixed", profile, "s"))
    assert not (cohort.root / "runs").exists()
