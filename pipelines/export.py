"""Export: a frozen dataset as a folder that another program trains on, whole or not at all."""

import gzip
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from curation.errors import CurationError, UsageError
from curation.labels import BACKGROUND, CLASSES, is_reserved
from curation.rle import RunLengths
from curation.status import Origin
from curation.volumes import encode_mask
from db.case_files import CaseFile
from db.models import Split
from db.store import Store
from db.writes import MemberValues
from pipelines.freeze import frozen_members
from pipelines.member_masks import member_mask
from pipelines.runs import Workbench, map_cases

# nnU-Net's ignore label must be the highest label value + 1.
NNUNET_IGNORE = max(c.id for c in CLASSES) + 1


class MissingPolicy(StrEnum):
    """What becomes of background where a class is still missing: nobody knows that it is background."""

    BACKGROUND = "background"
    IGNORE = "ignore"
    REFUSE = "refuse"


def export_nnunet(
    bench: Workbench, address: str, folder: Path, missing: MissingPolicy = MissingPolicy.BACKGROUND
) -> int:
    """Write a frozen dataset in nnU-Net's raw layout, with its split as ``splits_final.json``.

    Images are links to the source's files where the file system can link, copies otherwise. Unresolved
    and ignored voxels become nnU-Net's ignore label. With folds, fold k validates on the members of fold k.

    Args:
        bench: What to work with.
        address: ``NAME@N`` or ``NAME`` for the newest version.
        folder: New folder, best named ``DatasetNNN_NAME``.
        missing: What background means in cases with missing classes.

    Returns:
        The number of cases written.

    Raises:
        UsageError: The folder exists, or the dataset is unknown.
        CurationError: A member has no image, or has missing classes and the policy refuses them.
    """
    version, members = frozen_members(bench, address)
    origins = tuple(Origin(origin) for origin in version.origins)
    _check_members(members, address)
    names = _file_names([case for case, _ in members])
    with new_folder(folder) as building:
        (building / "imagesTr").mkdir()
        (building / "labelsTr").mkdir()
        for case, _ in members:
            assert case.image is not None, "checked above"
            _place_image(case.image, building / "imagesTr" / f"{names[case.case_id]}_0000.nii.gz")
        bench.progress.start(f"export {version.address}", len(members))
        write = partial(
            _write_label,
            store=bench.store,
            folder=building / "labelsTr",
            names=names,
            origins=origins,
            policy=missing,
        )
        ignored = False
        for done, (has_ignore, problem) in enumerate(
            map_cases(bench, write, [case for case, _ in members], len(members)), 1
        ):
            if problem:
                raise CurationError(problem)
            ignored |= has_ignore
            bench.progress.step(done)
        bench.progress.finish()
        _write_json(building / "dataset.json", _dataset_json(version.address, len(members), ignored))
        _write_json(building / "splits_final.json", _splits(members, names))
    return len(members)


def _check_members(members: list[tuple[CaseFile, MemberValues]], address: str) -> None:
    without = [case.address for case, _ in members if case.image is None]
    gone = [str(case.image) for case, _ in members if case.image is not None and not case.image.is_file()]
    if without:
        raise CurationError(
            f"{address}: {len(without)} members have no image ({', '.join(without[:3])} …); "
            "ingest them with --images, or freeze without them"
        )
    if gone:
        raise CurationError(
            f"{gone[0]}: the image is not there ({len(gone)} such members of {address}); "
            "after a disk moved: `maskledger source move NAME NEW_ROOT`"
        )


def _file_names(cases: list[CaseFile]) -> dict[int, str]:
    """Case id to file name: the bare name, with the source in front where two sources share one."""
    bare = {case.case_id: case.address.partition("/")[2] for case in cases}
    uses = Counter(bare.values())
    return {
        case.case_id: bare[case.case_id] if uses[bare[case.case_id]] == 1 else case.address.replace("/", "__")
        for case in cases
    }


def _write_label(
    case: CaseFile,
    *,
    store: Store,
    folder: Path,
    names: dict[int, str],
    origins: tuple[Origin, ...],
    policy: MissingPolicy,
) -> tuple[bool, str | None]:
    """Write one mask; returns whether it carries the ignore label, and the reason if it was refused."""
    try:
        mask = member_mask(store, case, origins)
        if mask.missing and policy is MissingPolicy.REFUSE:
            return False, (
                f"{case.address}: {len(mask.missing)} classes are missing; complement it first, "
                "or export with --missing background or --missing ignore"
            )
        reserved = {value: NNUNET_IGNORE for value in mask.runs.voxels() if is_reserved(value)}
        runs = mask.runs.remap(reserved) if reserved else mask.runs
        if mask.missing and policy is MissingPolicy.IGNORE:
            runs = _background_as_ignore(runs)
        data = encode_mask(runs, mask.geometry)
        (folder / f"{names[case.case_id]}.nii.gz").write_bytes(data)
        return NNUNET_IGNORE in runs.voxels(), None
    except (CurationError, OSError) as error:
        return False, f"{case.address}: {error}; run `maskledger verify`"


def _background_as_ignore(runs: RunLengths) -> RunLengths:
    """The same mask with every background voxel ignored."""
    array = runs.to_array()
    array[array == BACKGROUND] = NNUNET_IGNORE
    return RunLengths.from_array(array)


def _dataset_json(name: str, cases: int, ignored: bool) -> dict[str, object]:
    labels: dict[str, int] = {"background": BACKGROUND} | {c.name: c.id for c in CLASSES}
    if ignored:
        labels["ignore"] = NNUNET_IGNORE
    return {
        "name": name,
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        # nnU-Net's default reader does not reorient; ours come in every orientation.
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }


def _splits(
    members: list[tuple[CaseFile, MemberValues]], names: dict[int, str]
) -> list[dict[str, list[str]]]:
    folds = sorted({member.fold for _, member in members if member.fold is not None})
    if not folds:
        return [
            {
                split.value: sorted(names[case.case_id] for case, member in members if member.split is split)
                for split in (Split.TRAIN, Split.VAL)
            }
        ]
    return [
        {
            "train": sorted(names[case.case_id] for case, member in members if member.fold != fold),
            "val": sorted(names[case.case_id] for case, member in members if member.fold == fold),
        }
        for fold in folds
    ]


def _place_image(source: Path, target: Path) -> None:
    """Link the image under nnU-Net's name; an unpacked .nii is packed, since nnU-Net wants one file ending."""
    if not source.name.endswith(".gz"):
        with source.open("rb") as unpacked, gzip.GzipFile(target, "wb", compresslevel=1, mtime=0) as packed:
            shutil.copyfileobj(unpacked, packed)
        return
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears whole at the end of the block, or not at all.

    Raises:
        UsageError: Something stands at the path already, or its parent is absent.
    """
    if folder.exists():
        raise UsageError(f"{folder}: exists already; give a new folder")
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent}: no such folder; make it first")
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield building
        building.chmod(0o755)
        os.rename(building, folder)  # noqa: PTH104 - says that it is the one atomic step
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
