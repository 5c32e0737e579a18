"""What a student can and cannot learn from a frozen dataset, said before hours are spent."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from curation.errors import CurationError
from curation.labels import BY_ID, CLASS_IDS
from curation.status import Evidence, Origin
from db.case_files import CaseFile
from db.models import Split
from db.writes import MemberValues
from pipelines.case_masks import missing_classes
from pipelines.open_classes import learns_no_background, open_classes
from pipelines.profiles import StudentProfile


@dataclass(frozen=True)
class Known:
    """Of one member, as a training on some origins sees it: class ids that are drawn, drawn by a model, missing.

    Kidneys without a side are missing in the books, but drawn: they are not on the background. So they are not here.
    """

    split: Split
    drawn: frozenset[int]
    pseudo: frozenset[int]
    missing: frozenset[int]

    @classmethod
    def of(cls, case: CaseFile, split: Split, origins: Collection[Origin]) -> "Known":
        """What is known of a case; classes of other origins are missing."""
        missing = missing_classes(case, origins)
        drawn = case.annotated - missing
        pseudo = frozenset(c for c in drawn if case.annotations[c].origin is Origin.PSEUDO)
        sides = {c for c in missing if case.annotations[c].evidence is Evidence.UNRESOLVED_SIDE}
        return cls(split, drawn, pseudo, missing - sides)


def check_student(
    dataset: str,
    profile: StudentProfile,
    members: Sequence[tuple[CaseFile, MemberValues]],
    origins: Collection[Origin],
) -> list[str]:
    """Say what would come out of hours of training, now.

    Args:
        dataset: Its address, for messages.
        profile: The student's settings.
        members: Of the frozen dataset.
        origins: Those that the dataset was frozen with.

    Returns:
        Notes, one line each: classes that cannot be learned, a validation that cannot choose.

    Raises:
        CurationError: No training case, or, as `missing` is set, none that says where nothing is.
    """
    known = [Known.of(case, member.split, origins) for case, member in members]
    train = [one for one in known if one.split is Split.TRAIN]
    if not train:
        raise CurationError(
            f"{dataset} has no training case, {len(known)} to validate on; freeze it with a smaller --val"
        )
    drawn = frozenset().union(*(one.drawn for one in train))
    for stage, coarse in ((profile.coarse, True), (profile.fine, False)):
        left_open = open_classes(drawn, coarse=coarse, sides_swap="x" in stage.flips)
        if learns_no_background(profile.missing, left_open, (one.missing for one in train), coarse=coarse):
            what = "an organ" if coarse else "a class"
            raise CurationError(
                f"{dataset}: each of its {len(train)} training cases misses {what}, and with "
                f'missing = "{profile.missing}" no background would be learned; '
                'complement them first, or set missing = "background"'
            )
    taught = open_classes(drawn, coarse=False, sides_swap="x" in profile.fine.flips)
    return list(_notes(dataset, profile, known, taught))


def _notes(
    dataset: str, profile: StudentProfile, known: Sequence[Known], taught: frozenset[int]
) -> Iterable[str]:
    unknown = [c for c in CLASS_IDS if c not in taught]
    if unknown:
        yield f"note: no training case of {dataset} has {_names(unknown)}; the student cannot learn what nobody drew"
    validation = [one for one in known if one.split is Split.VAL]
    if validation and not any(one.drawn - one.pseudo for one in validation):
        yield (
            f"note: what is drawn in the validation cases of {dataset} was drawn by a model, "
            "so the last weights are taken, not the best"
        )
    lacking = sum(bool(one.missing & taught) for one in known if one.split is Split.TRAIN)
    if lacking and profile.missing == "background":
        cases = f"{lacking} training cases miss" if lacking > 1 else "1 training case misses"
        yield (
            f"note: {cases} classes that others have, and teach them as background; "
            'missing = "marginal" in the profile\'s [student] leaves them open'
        )


def _names(class_ids: Sequence[int]) -> str:
    names = [BY_ID[class_id].name for class_id in class_ids]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
