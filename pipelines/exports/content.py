"""What every format exports: a frozen dataset's members, under names that are unique in one folder."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from curation.errors import CurationError
from curation.labels import BY_ID, CLASSES
from curation.status import Origin
from db.datasets import DatasetVersionRow, dataset_version
from db.freezing import FrozenMember, frozen_members
from pipelines.exports.request import ExportRequest, Format, MissingPolicy, UnresolvedPolicy
from pipelines.runs import Workbench

# nnU-Net's ignore label must be the highest label value + 1; the other formats use the same.
IGNORE_LABEL = max(c.id for c in CLASSES) + 1
# Names which and how an export was made; beside the format's own files.
PROVENANCE = "maskledger.json"


@dataclass(frozen=True)
class Content:
    """A frozen dataset as an export sees it: without purged members, in order of address."""

    request: ExportRequest
    version: DatasetVersionRow
    members: list[FrozenMember]

    @cached_property
    def origins(self) -> tuple[Origin, ...]:
        """The origins whose classes count; drawings of others are background, and their classes missing."""
        return tuple(self.version.origins)

    @cached_property
    def names(self) -> dict[int, str]:
        """Case id to file name: the bare name, with the source in front where two sources share one.

        Raises:
            CurationError: Two cases would still share a name.
        """
        uses = Counter(member.name for member in self.members)
        names = {
            member.case_id: member.name if uses[member.name] == 1 else f"{member.source}__{member.name}"
            for member in self.members
        }
        name, n = Counter(names.values()).most_common(1)[0] if names else ("", 0)
        if n > 1:
            same = [member.address for member in self.members if names[member.case_id] == name]
            raise CurationError(
                f"{' and '.join(same)} would both be written as {name}; freeze them as two datasets"
            )
        return names

    def missing(self, member: FrozenMember) -> frozenset[int]:
        """Ids of the classes of which a training on this dataset knows nothing in one case."""
        return member.states.missing(self.origins)

    @cached_property
    def incomplete(self) -> list[FrozenMember]:
        """Members with missing classes."""
        return [member for member in self.members if self.missing(member)]

    @cached_property
    def has_ignored(self) -> bool:
        """Whether the ignore label is used in any mask."""
        return any(map(self.ignores, self.members))

    def ignores(self, member: FrozenMember) -> bool:
        """Whether one mask has voxels with the ignore label."""
        return member.reserved or (
            self.request.missing is MissingPolicy.IGNORE and bool(self.missing(member))
        )

    def label_table(self) -> dict[str, int]:
        """Class name to label value, with ``ignore`` where it is used."""
        labels = {"background": 0} | {c.name: c.id for c in CLASSES}
        return labels | ({"ignore": IGNORE_LABEL} if self.has_ignored else {})

    def check(self) -> None:
        """Refuse before anything is written.

        Raises:
            CurationError: Nothing is left to export; a policy refuses a member; an image is needed and absent.
        """
        address, request = self.version.address, self.request
        if not self.members:
            raise CurationError(f"{address}: all of its members were purged; nothing is left to export")
        if request.missing is MissingPolicy.REFUSE and self.incomplete:
            raise CurationError(
                f"{address}: classes are missing in {_some(self.incomplete)} ({self.missing_text()}); complement "
                "them and freeze again, or export with --missing background or --missing ignore"
            )
        if request.unresolved is UnresolvedPolicy.REFUSE and (
            held := [member for member in self.members if member.reserved]
        ):
            raise CurationError(
                f"{address}: unresolved or ignored voxels in {_some(held)}; correct them and freeze again, or "
                "export with --unresolved ignore"
            )
        if request.format in {Format.NNUNET, Format.MONAI}:
            self._check_images()

    def _check_images(self) -> None:
        without = [member for member in self.members if member.image is None]
        if without:
            raise CurationError(
                f"{self.version.address}: no image of {_some(without)}, and {self.request.format} needs them; "
                "ingest them with --images, or freeze without these cases"
            )
        gone = [str(m.image) for m in self.members if m.image is not None and not m.image.is_file()]
        if gone:
            raise CurationError(
                f"{gone[0]}: the image is not there ({len(gone)} such members of {self.version.address}); "
                "after a disk moved: `maskledger source move NAME NEW_ROOT`"
            )

    def missing_text(self) -> str:
        """Which classes are missing in how many cases, the most frequent first."""
        counts = Counter(class_id for member in self.incomplete for class_id in self.missing(member))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{BY_ID[class_id].name} in {n}" for class_id, n in ranked)

    def notes(self) -> tuple[str, ...]:
        """What whoever exports should know, a sentence each."""
        version, found = self.version, []
        found += [f"{version.address} is tainted: {taint.sentence}" for taint in version.taints]
        if version.purged:
            found.append(f"{version.purged} of {version.members} members were purged and are left out")
        writes_masks = self.request.format is not Format.MANIFEST
        if writes_masks and self.incomplete and self.request.missing is MissingPolicy.BACKGROUND:
            found.append(
                f"{len(self.incomplete)} of {len(self.members)} cases have missing classes "
                f"({self.missing_text()}); their background may hold unlabelled organs"
            )
        return tuple(found)

    def provenance(self) -> dict[str, Any]:
        """What the folder was made from and how: the same for the same version and request."""
        version, request = self.version, self.request
        return {
            "dataset": version.address,
            "query": version.query,
            "origins": [str(origin) for origin in version.origins],
            "val_share": version.val_share,
            "folds": version.folds,
            "seed": version.seed,
            "manifest_hash": version.manifest_hash,
            "frozen_by": version.author,
            "frozen_at": version.created_at.isoformat(),
            "format": str(request.format),
            "missing": str(request.missing),
            "unresolved": str(request.unresolved),
            "labels": self.label_table(),
            "cases": {
                self.names[member.case_id]: {
                    "case": member.address,
                    "version": member.number,
                    "patient": member.patient,
                    "licence": member.licence,
                    "split": str(member.split),
                    "fold": member.fold,
                }
                for member in self.members
            },
        }


def content_of(bench: Workbench, request: ExportRequest) -> Content:
    """What a request exports, if nothing speaks against it.

    Raises:
        UsageError: The dataset is unknown.
        CurationError: As `Content.check`.
    """
    with bench.catalog.reading() as session:
        version = dataset_version(session, request.dataset)
        members = frozen_members(session, version.id)
    content = Content(request, version, [member for member in members if not member.purged])
    content.check()
    return content


def _some(members: list[FrozenMember]) -> str:
    """How many members, and the first of them by name."""
    named = ", ".join(member.address for member in members[:3])
    return f"{len(members)} cases ({named}{', …' if len(members) > 3 else ''})"


def write_json(path: Path, content: object) -> None:
    """Write JSON that is the same for the same content."""
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def folds_of(members: Iterable[FrozenMember]) -> list[int]:
    """The folds that there are, in order."""
    return sorted({member.fold for member in members if member.fold is not None})
