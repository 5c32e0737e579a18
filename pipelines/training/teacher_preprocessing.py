"""nnU-Net's work on single cases: its analysis for the fingerprint, and its preprocessing. Both are done once.

nnU-Net's own drivers do the same in a pool that says "background worker died" when a case is bad; here the cases go
through its per-case functions one by one, a bad one is named, and what comes out lies in the workspace's cache under
the content that it was made from: other trainings on the same cases find it there, and a killed one goes on.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from curation.errors import kind_and_first_line
from pipelines.training.jobs import Reporter, TrainingError
from pipelines.training.prepared_files import PreparedFiles, own_name_beside, put_whole
from pipelines.training.teacher_folders import CONFIGURATION, NnunetFolders, RawCase
from pipelines.workers import WorkerLostError, submit, worker_pool

# Raise it when what is kept of a case changes, so that nothing kept the old way is taken for new.
CACHE_VERSION = 1
# A preprocessed case as nnU-Net names its files, by what is appended to the case's key: voxels, labels, properties.
PREPROCESSED_ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")
# What of the plans preprocessing depends on. Not the patch: it only says how the voxels are blocked in the file, and
# nnU-Net, too, trains other plans on data that were blocked for the first ones.
_PLANS_KEYS = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")
_CONFIGURATION_KEYS = (
    "preprocessor_name", "spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data",
    "resampling_fn_data_kwargs", "resampling_fn_seg", "resampling_fn_seg_kwargs",
)  # fmt: skip
# A pool of processes pays from here on: each imports nnU-Net and torch first, some 5 s.
_POOL_FROM_CASES = 24
_NO_NUMBERS = "voxels are NaN or infinite"

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Analysis:
    """What nnU-Net's fingerprint takes of one case, after cropping to what is not zero.

    Attributes:
        shape: Voxels along nnU-Net's array axes z, y, x.
        spacing_mm: Along the same axes.
        intensities: A sample of the annotated voxels.
        relative_size: Voxels left by the crop, as a share.
    """

    shape: list[int]
    spacing_mm: list[float]
    intensities: NDArray[np.float32]
    relative_size: float


def analyze_all(cases: list[RawCase], samples: int, cache: PreparedFiles) -> Iterator[Analysis]:
    """Analyze cases, in their order; those that were analyzed before are read from the cache.

    Args:
        samples: How many intensities to draw of each case.

    Raises:
        TrainingError: A case that cannot be read, or has annotated voxels that are no numbers; it is named.
    """
    return _map_cases(_analyze_case, [(case, samples, cache) for case in cases])


def preprocess(
    cases: list[RawCase],
    folders: NnunetFolders,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    cache: PreparedFiles,
    reporter: Reporter,
) -> None:
    """Crop, normalize and resample every case that is not yet in nnU-Net's preprocessed folder.

    Raises:
        TrainingError: A case that cannot be preprocessed, or holds values that are no numbers; it is named.
    """
    output = folders.preprocessed / plans["configurations"][CONFIGURATION]["data_identifier"]
    output.mkdir(parents=True, exist_ok=True)
    for folder in (_done(folders), _building(folders)):
        folder.mkdir(exist_ok=True)
    recipe = _recipe(plans, dataset)
    todo = [case for case in cases if not (_done(folders) / case.key).is_file()]
    jobs = [(case, folders, output, plans, dataset, recipe, cache) for case in todo]
    for done, case in enumerate(_map_cases(_preprocess_case, jobs), start=len(cases) - len(todo) + 1):
        reporter.progress("preprocess", done, len(cases), case)


def unreadable_case(cases: Mapping[str, str], folder: Path) -> str | None:
    """Which case's preprocessed data cannot be read, and why, in words; None if all can.

    For when a training stopped over its data: nnU-Net's processes for augmentation die without a name.

    Args:
        cases: nnU-Net's key of each case to its address.
        folder: Where the preprocessed files are.
    """
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    for key, case in cases.items():
        try:
            data, labels, _, _ = nnUNetDatasetBlosc2(str(folder), [key]).load_case(key)
            for array in (data, labels):
                array[:]
        except Exception as error:
            found = kind_and_first_line(error)
            return f"{case}: its preprocessed data cannot be read ({folder / key}: {found})"
    return None


def _done(folders: NnunetFolders) -> Path:
    """An empty file per case whose preprocessed files are all in place.

    Not beside them: nnU-Net tells its data format from the file endings there.
    """
    return folders.root / "done"


def _building(folders: NnunetFolders) -> Path:
    """Where a case's files are written before they are whole."""
    return folders.root / "building"


def _recipe(plans: dict[str, Any], dataset: dict[str, Any]) -> list[object]:
    """All that decides, beside image and label, what preprocessing makes of a case."""
    configuration = plans["configurations"][CONFIGURATION]
    return [
        CACHE_VERSION,
        version("nnunetv2"),
        [plans[key] for key in _PLANS_KEYS],
        [configuration[key] for key in _CONFIGURATION_KEYS],
        [dataset["labels"], dataset["channel_names"]],
    ]


def _analyze_case(case: RawCase, samples: int, cache: PreparedFiles) -> Analysis:
    made_from = [
        CACHE_VERSION,
        version("nnunetv2"),
        samples,
        cache.content(case.image),
        cache.content(case.label),
    ]
    file = cache.file("analysis", "npz", made_from)
    if not file.is_file():
        cache.mark(case.case, file)
        buffer = BytesIO()
        np.savez(buffer, **_analyzed(case, samples))
        put_whole(file, buffer.getvalue())
    with np.load(file) as kept:
        return Analysis(
            kept["shape"].tolist(),
            kept["spacing_mm"].tolist(),
            kept["intensities"],
            float(kept["relative_size"]),
        )


def _analyzed(case: RawCase, samples: int) -> dict[str, Any]:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    with _naming(case):
        shape, spacing_mm, intensities, _, relative_size = DatasetFingerprintExtractor.analyze_case(
            [str(case.image)], str(case.label), NibabelIOWithReorient, samples
        )
        _only_numbers(intensities[0])
    return {
        "shape": np.array(shape),
        "spacing_mm": np.array(spacing_mm, np.float64),
        "intensities": np.asarray(intensities[0], np.float32),
        "relative_size": relative_size,
    }


def _preprocess_case(
    case: RawCase,
    folders: NnunetFolders,
    output: Path,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    recipe: list[object],
    cache: PreparedFiles,
) -> str:
    """Bring one case's three files from the cache into nnU-Net's folder, after making them where they are not there."""
    made_from = [*recipe, cache.content(case.image), cache.content(case.label)]
    kept = [
        cache.file(kind, ending, made_from)
        for kind, ending in (("voxels", "b2nd"), ("labels", "b2nd"), ("properties", "pkl"))
    ]
    cache.mark(case.case, *kept)
    building = _building(folders)
    if not all(file.is_file() for file in kept):
        built = _build(case, building, plans, dataset)
        for made, file in zip(built, kept, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            with made.open("rb") as stream:
                os.fsync(stream.fileno())  # under its new name it counts as whole, after a power cut too
            _place(made, file, own_name_beside(file))
            made.unlink()
    for file, ending in zip(kept, PREPROCESSED_ENDINGS, strict=True):
        place = output / (case.key + ending)
        place.unlink(missing_ok=True)  # without its mark it is no whole case
        _place(file, place, building / place.name)
    (_done(folders) / case.key).touch()
    return case.case


def _build(case: RawCase, folder: Path, plans: dict[str, Any], dataset: dict[str, Any]) -> list[Path]:
    """Let nnU-Net preprocess a case into a folder; returns its three files."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    files = [folder / (case.key + ending) for ending in PREPROCESSED_ENDINGS]
    for partial in files:
        partial.unlink(missing_ok=True)  # of a killed process; blosc2 writes over nothing
    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    with _naming(case):
        configuration.preprocessor_class(verbose=False).run_case_save(
            str(folder / case.key), [str(case.image)], str(case.label), manager, configuration, dataset
        )
        voxels, _, _, _ = nnUNetDatasetBlosc2(str(folder), [case.key]).load_case(case.key)
        _only_numbers(voxels[:])
    return files


def _place(source: Path, target: Path, beside: Path) -> None:
    """Give a whole file a second name; where the disks differ or know no links, a copy made `beside` and renamed."""
    try:
        os.link(source, target)
    except FileExistsError:
        return  # another training was faster: under one name lies what was made from one content
    except OSError:
        shutil.copyfile(source, beside)
        beside.replace(target)


def _only_numbers(voxels: NDArray[Any]) -> None:
    if not np.isfinite(voxels).all():
        raise ValueError(_NO_NUMBERS)


@contextmanager
def _naming(case: RawCase) -> Iterator[None]:
    """Turn whatever nnU-Net throws at a case into an error that says which case it was."""
    try:
        yield
    except MemoryError as error:
        raise TrainingError(
            f"{case.case}: not enough memory for {case.image}; close other programs or leave it out"
        ) from error
    except Exception as error:
        # nnU-Net looks for NaN itself, in words of its own.
        nan = "NaN" in str(error)
        found = _NO_NUMBERS if nan else kind_and_first_line(error)
        raise TrainingError(
            f"{case.case}: {case.image} is not usable ({found}); repair it or leave it out"
        ) from error


def _map_cases(function: Callable[..., Result], jobs: list[tuple[Any, ...]]) -> Iterator[Result]:
    """Apply `function` to each job, a case and more, in order; in a pool of processes where that pays."""
    workers = min(len(os.sched_getaffinity(0)), 8)
    if workers < 4 or len(jobs) < _POOL_FROM_CASES:
        yield from (function(*job) for job in jobs)
        return
    done = 0
    try:
        with worker_pool(workers) as pool:
            futures = [submit(pool, _call, (function, job)) for job in jobs]
            try:
                for future in futures:
                    yield future.result()
                    done += 1
            finally:
                for future in futures:
                    future.cancel()
    except WorkerLostError as error:
        raise TrainingError(
            f"{jobs[done][0].case}: a process that worked on this case or one of the next was killed; most often "
            "memory was short: close other programs and train again, which goes on with what is left"
        ) from error


def _call(job: tuple[Callable[..., Result], tuple[Any, ...]]) -> Result:
    function, arguments = job
    return function(*arguments)
