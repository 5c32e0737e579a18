"""The catalog's tables: what is recorded of sources, cases, versions and classes; units, constraints."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from curation.status import Evidence, Origin, Severity, Status


class Role(StrEnum):
    """What a case may be used for; whatever trains leaves `test` out unless told otherwise."""

    TRAIN = "train"
    TEST = "test"


class VersionKind(StrEnum):
    """What made a mask version."""

    INGESTED = "ingested"
    COMPLEMENTED = "complemented"
    CORRECTED = "corrected"
    REVIEWED = "reviewed"
    REVERTED = "reverted"
    RETRACTED = "retracted"


class Verdict(StrEnum):
    """A person's decision on one class of one case."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ABSENT = "absent"


class FindingState(StrEnum):
    """Whether a finding still wants eyes."""

    OPEN = "open"
    DISMISSED = "dismissed"
    FIXED = "fixed"


class ModelKind(StrEnum):
    """How a model came to be known: trained here, or only its predictions were imported."""

    TEACHER = "teacher"
    STUDENT = "student"
    EXTERNAL = "external"


class RunState(StrEnum):
    """Lifecycle of a run; `interrupted` runs go on where they stopped when started again."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ItemState(StrEnum):
    """What a run did with one case or file."""

    DONE = "done"
    REFUSED = "refused"
    NOTED = "noted"


class Split(StrEnum):
    """Which side of a frozen dataset's split a member stands on."""

    TRAIN = "train"
    VAL = "val"


def utc_now() -> datetime:
    """The present moment, in UTC, aware."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware on both databases (SQLite alone would hand back naive ones).

    Raises:
        ValueError: A naive moment is to be stored; nobody could say which one it is.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _values(members: type[StrEnum]) -> list[str]:
    return [member.value for member in members]


class Base(DeclarativeBase):
    """Naming and type rules that hold for every table."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # SQLAlchemy stores enum *names* unless told to store values, and None in a JSON column as JSON's null
    # instead of SQL's.
    type_annotation_map = {
        enum: Enum(
            enum, native_enum=False, create_constraint=True, values_callable=_values, length=16, name=name
        )
        for enum, name in (
            (Status, "status"),
            (Origin, "origin"),
            (Evidence, "evidence"),
            (Severity, "severity"),
            (Role, "role"),
            (VersionKind, "kind"),
            (Verdict, "verdict"),
            (FindingState, "state"),
            (ModelKind, "kind"),
            (RunState, "state"),
            (ItemState, "state"),
            (Split, "split"),
        )
    } | {
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        datetime: UtcDateTime(),
    }


# A reader finds the rule at its table; only the wording is shared.
_CLASS_IN_TABLE = "class_id BETWEEN 1 AND 14"
_ADDRESSABLE = "name <> '' AND name NOT LIKE '%/%' AND name NOT LIKE '%@%'"
_PACKED_COMMENT = "Packed class states: curation.class_states"


def _address_part(length: int) -> TypeEngine[str]:
    """Sorted by code point on PostgreSQL as on SQLite, so that an index gives cases in order of address."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class Source(Base):
    """A dataset as its users call it (KiTS, FLARE23)."""

    __tablename__ = "source"
    __table_args__ = (CheckConstraint(_ADDRESSABLE, name="name_addressable"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(_address_part(200), unique=True)
    licence: Mapped[str | None] = mapped_column(String(200))
    citation: Mapped[str | None] = mapped_column(Text)
    image_root: Mapped[str | None] = mapped_column(Text, comment="Folder that image paths are relative to")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class SourceRevision(Base):
    """One published state of a source's labels (KiTS 2019, 2023), with its mapping and protocol."""

    __tablename__ = "source_revision"
    __table_args__ = (UniqueConstraint("source_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    name: Mapped[str] = mapped_column(String(100))
    mapping_name: Mapped[str] = mapped_column(String(200))
    mapping: Mapped[dict[str, Any]] = mapped_column(comment="Incoming label value to class or reserved name")
    protocol: Mapped[list[Any] | None] = mapped_column(comment="Class ids looked for; NULL if nobody said")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Case(Base):
    """One CT of one source; addressed SOURCE/NAME."""

    __tablename__ = "case"
    __table_args__ = (
        UniqueConstraint("source_id", "name"),
        CheckConstraint(_ADDRESSABLE, name="name_addressable"),
        # Of its own versions, not of another case's. A cycle with mask_version: added once both tables exist.
        ForeignKeyConstraint(
            ["id", "newest_version_id"], ["mask_version.case_id", "mask_version.id"], use_alter=True
        ),
        # To the few cases of a rare state without walking all of a source.
        Index(None, "source_id", "states", "name"),
    )

    # Said outright, because a key that is also part of a reference would not count by itself.
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    name: Mapped[str] = mapped_column(_address_part(300), index=True)
    patient: Mapped[str] = mapped_column(
        String(600), index=True, comment="Identity across sources; default SOURCE/NAME"
    )
    role: Mapped[Role] = mapped_column(default=Role.TRAIN)
    licence: Mapped[str | None] = mapped_column(String(200), comment="NULL: the source's licence holds")
    extra: Mapped[dict[str, Any]] = mapped_column(default=dict, comment="Further columns of --cases")
    looked_for: Mapped[list[Any] | None] = mapped_column(
        comment="Class ids; NULL: the revision's protocol holds"
    )
    image_path: Mapped[str | None] = mapped_column(Text, comment="Relative to the source's image_root")
    # Moved with every new version in the same transaction; it is also how a stale writer is noticed.
    newest_version_id: Mapped[int | None] = mapped_column(index=True)
    # Moved with it. The database's triggers keep `state_count` and `newest_measure` in step with what is written here.
    states: Mapped[int | None] = mapped_column(
        BigInteger, comment="Those of the newest version; NULL where there is none"
    )
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class StateCount(Base):
    """How many cases of a source and role have which class states: written by triggers on `case` alone.

    A catalog has millions of cases, but a few thousand combinations of states: what asks for classes alone is
    answered from here.
    """

    __tablename__ = "state_count"
    __table_args__ = (
        CheckConstraint("cases >= 0", name="cases_not_negative"),
        {"sqlite_with_rowid": False},
    )

    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), primary_key=True)
    role: Mapped[Role] = mapped_column(primary_key=True)
    states: Mapped[int] = mapped_column(BigInteger, primary_key=True, comment=_PACKED_COMMENT)
    cases: Mapped[int] = mapped_column(comment="Cases whose newest version has them")


class NewestMeasure(Base):
    """What was measured of one class in a case's newest version, where it is annotated: written by triggers alone.

    The rows of one class stand together (in key order on SQLite, in a partition of their own on PostgreSQL), each
    with what a query can ask of its case besides: a measure of a million cases is one scan of one class. There is
    no reference to `case`, for it would be looked up 14 times a case.
    """

    __tablename__ = "newest_measure"
    __table_args__ = ({"sqlite_with_rowid": False, "postgresql_partition_by": "LIST (class_id)"},)

    class_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="curation.labels")
    case_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    states: Mapped[int] = mapped_column(BigInteger, comment=_PACKED_COMMENT)
    volume_ml: Mapped[float] = mapped_column(comment="Millilitres")
    mean_hu: Mapped[float | None] = mapped_column(comment="Hounsfield units")
    confidence: Mapped[float | None] = mapped_column(comment="Of the prediction it stands on; NULL by hand")
    agreement: Mapped[float | None] = mapped_column(
        comment="Of the prediction it stands on; by hand, of the case's newest one"
    )
    source_id: Mapped[int]
    voxels: Mapped[int]
    components: Mapped[int | None] = mapped_column(comment="26-connected pieces; NULL where not counted")
    touches_border: Mapped[bool]
    role: Mapped[Role]


class Image(Base):
    """What a look at a case's image told, for as long as the file is the same."""

    __tablename__ = "image"
    __table_args__ = (
        CheckConstraint("shape_x > 0 AND shape_y > 0 AND shape_z > 0", name="shape_positive"),
        CheckConstraint("spacing_x > 0 AND spacing_y > 0 AND spacing_z > 0", name="spacing_positive"),
        CheckConstraint("low <= high", name="low_below_high"),
        CheckConstraint("is_hu = (note = '')", name="note_says_why"),
    )

    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"), primary_key=True)
    file_bytes: Mapped[int] = mapped_column(BigInteger, comment="Of the file; tells a changed one")
    modified_ns: Mapped[int] = mapped_column(BigInteger, comment="Of the file, ns since 1970")
    voxel_hash: Mapped[str] = mapped_column(String(64), index=True, comment="BLAKE3 of voxels, shape, affine")
    histogram_hash: Mapped[str] = mapped_column(
        String(64), index=True, comment="BLAKE3 of RAS shape and histogram: the same in every orientation"
    )
    shape_x: Mapped[int] = mapped_column(comment="Voxels, right-left")
    shape_y: Mapped[int] = mapped_column(comment="Voxels, posterior-anterior")
    shape_z: Mapped[int] = mapped_column(comment="Voxels, inferior-superior: slices")
    spacing_x: Mapped[float] = mapped_column(comment="mm")
    spacing_y: Mapped[float] = mapped_column(comment="mm")
    spacing_z: Mapped[float] = mapped_column(comment="mm")
    orientation: Mapped[str] = mapped_column(String(3), comment="Axis codes of the file")
    low: Mapped[float] = mapped_column(comment="Smallest voxel, as scaled by the file")
    high: Mapped[float] = mapped_column(comment="Largest voxel, as scaled by the file")
    is_hu: Mapped[bool] = mapped_column(comment="Whether it can be Hounsfield units")
    note: Mapped[str] = mapped_column(Text, default="", comment="Why it cannot; empty where it can")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class SavedQuery(Base):
    """A query under a name, which other queries use as ``@NAME``."""

    __tablename__ = "saved_query"
    __table_args__ = (CheckConstraint(_ADDRESSABLE, name="name_addressable"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    query: Mapped[str] = mapped_column(Text, comment="As it was written")
    message: Mapped[str] = mapped_column(Text, default="", comment="What it is for")
    author: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC; of this text")


class MaskVersion(Base):
    """One immutable state of a case's mask. Hashes are NULL where an image has no mask yet."""

    __tablename__ = "mask_version"
    __table_args__ = (
        UniqueConstraint("case_id", "number"),
        UniqueConstraint("case_id", "id"),  # what "a version of this very case" refers to
        ForeignKeyConstraint(["case_id", "parent_id"], ["mask_version.case_id", "mask_version.id"]),
        CheckConstraint("number >= 1", name="number_from_one"),
        CheckConstraint("(number = 1) = (parent_id IS NULL)", name="first_has_no_parent"),
        CheckConstraint("(file_hash IS NULL) = (voxel_hash IS NULL)", name="file_has_voxels"),
        CheckConstraint("shape_x > 0 AND shape_y > 0 AND shape_z > 0", name="shape_positive"),
        CheckConstraint("spacing_x > 0 AND spacing_y > 0 AND spacing_z > 0", name="spacing_positive"),
        # A page of cases in these orders is read from its end of the index. The id decides between equals.
        Index(None, "number", "id"),
        Index(None, "shape_z", "id"),
        Index(None, "spacing_z", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    number: Mapped[int]
    parent_id: Mapped[int | None]
    kind: Mapped[VersionKind]
    incoming_hash: Mapped[str | None] = mapped_column(String(64), comment="SHA-256 of the bytes that came in")
    file_hash: Mapped[str | None] = mapped_column(String(64), comment="SHA-256 of the stored bytes")
    voxel_hash: Mapped[str | None] = mapped_column(
        String(64), index=True, comment="BLAKE3 of voxels, shape, affine"
    )
    incoming_path: Mapped[str | None] = mapped_column(Text, comment="Where the incoming bytes were read")
    revision_id: Mapped[int | None] = mapped_column(ForeignKey("source_revision.id"))
    restores_id: Mapped[int | None] = mapped_column(
        ForeignKey("mask_version.id"), comment="Version whose state this one brings back"
    )
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    author: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True, comment="UTC")
    # Of the patient's axes (x right-left, y posterior-anterior, z inferior-superior), so that
    # "slices < 60" means the same for a file that stores its slices first.
    shape_x: Mapped[int] = mapped_column(comment="Voxels, right-left")
    shape_y: Mapped[int] = mapped_column(comment="Voxels, posterior-anterior")
    shape_z: Mapped[int] = mapped_column(comment="Voxels, inferior-superior: slices")
    spacing_x: Mapped[float] = mapped_column(comment="mm")
    spacing_y: Mapped[float] = mapped_column(comment="mm")
    spacing_z: Mapped[float] = mapped_column(comment="mm")
    orientation: Mapped[str] = mapped_column(String(3), comment="Axis codes of the file, e.g. IPL")
    affine: Mapped[list[Any]] = mapped_column(comment="Voxel to RAS+ mm, 16 numbers, row by row")
    # What the 14 annotation rows say, too: written with them, recomputed by `verify`.
    states: Mapped[int] = mapped_column(
        BigInteger, default=0, server_default=text("0"), comment=_PACKED_COMMENT
    )


class Annotation(Base):
    """What is known of one class in one mask version.

    Every (version, class) pair has a row: "missing" is a fact we store, never a row we leave out.
    """

    __tablename__ = "annotation"
    __table_args__ = (
        CheckConstraint(_CLASS_IN_TABLE, name="class_in_table"),
        CheckConstraint("(status = 'annotated') = (voxels > 0)", name="annotated_has_voxels"),
        CheckConstraint("(status = 'annotated') = (evidence = 'voxels')", name="annotated_by_voxels"),
        CheckConstraint("(status = 'annotated') = (class_hash IS NOT NULL)", name="annotated_has_hash"),
        CheckConstraint("(status = 'annotated') = (origin IS NOT NULL)", name="drawn_by_someone"),
        CheckConstraint(
            "(origin IS NOT NULL AND origin = 'pseudo') = (prediction_id IS NOT NULL)",
            name="pseudo_has_prediction",
        ),
        CheckConstraint(
            "(origin IS NOT NULL AND origin = 'corrected') = (author IS NOT NULL)",
            name="corrected_has_author",
        ),
        CheckConstraint("voxels >= 0 AND volume_ml >= 0", name="volume_not_negative"),
        CheckConstraint(
            "components >= 1 AND largest_share > 0 AND largest_share <= 1", name="pieces_in_range"
        ),
        Index(None, "class_id", "status", "version_id"),
    )

    version_id: Mapped[int] = mapped_column(ForeignKey("mask_version.id"), primary_key=True)
    class_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="curation.labels")
    status: Mapped[Status]
    origin: Mapped[Origin | None] = mapped_column(comment="NULL unless annotated")
    evidence: Mapped[Evidence]
    prediction_id: Mapped[int | None] = mapped_column(ForeignKey("prediction.id"), index=True)
    author: Mapped[str | None] = mapped_column(String(200), comment="Who corrected it; NULL unless corrected")
    # Later versions carry it along while the class keeps its owner, even where others cut into it.
    drawn_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("mask_version.id"), comment="Version in which its owner drew it; NULL unless annotated"
    )
    voxels: Mapped[int] = mapped_column(default=0)
    volume_ml: Mapped[float] = mapped_column(default=0.0, comment="Millilitres")
    bbox: Mapped[list[Any] | None] = mapped_column(
        comment="Voxels of the file's axes: [x0, y0, z0, x1, y1, z1), half open"
    )
    centroid: Mapped[list[Any] | None] = mapped_column(comment="RAS+ mm: [x, y, z]")
    components: Mapped[int | None] = mapped_column(comment="26-connected pieces; NULL where not counted")
    largest_share: Mapped[float | None] = mapped_column(comment="Share of the largest piece, 0 to 1")
    touches_border: Mapped[bool] = mapped_column(default=False)
    mean_hu: Mapped[float | None] = mapped_column(comment="Hounsfield units")
    std_hu: Mapped[float | None] = mapped_column(comment="Hounsfield units")
    class_hash: Mapped[str | None] = mapped_column(String(64), comment="BLAKE3 of the class's run lengths")


class ReservedVoxels(Base):
    """Voxels of a version that carry no class: unresolved pairs (200–239) and ignore (255)."""

    __tablename__ = "reserved_voxels"
    __table_args__ = (
        CheckConstraint("value BETWEEN 200 AND 239 OR value = 255", name="value_reserved"),
        CheckConstraint("voxels > 0", name="voxels_positive"),
    )

    version_id: Mapped[int] = mapped_column(ForeignKey("mask_version.id"), primary_key=True)
    value: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    voxels: Mapped[int]
    volume_ml: Mapped[float] = mapped_column(comment="Millilitres")


class Conflict(Base):
    """Voxels on which two sides of a merge disagreed: what stands there now, and what was turned away."""

    __tablename__ = "conflict"
    __table_args__ = (
        CheckConstraint("voxels > 0", name="voxels_positive"),
        CheckConstraint("kept BETWEEN 0 AND 255 AND offered BETWEEN 0 AND 255", name="values_stored"),
        CheckConstraint("kept <> offered", name="kept_something_else"),
    )

    version_id: Mapped[int] = mapped_column(ForeignKey("mask_version.id"), primary_key=True)
    kept: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="Voxel value that stands")
    offered: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="Voxel value turned away")
    displaced: Mapped[bool] = mapped_column(
        primary_key=True, default=False, comment="True: it stood in the parent; false: it was offered to it"
    )
    voxels: Mapped[int]
    ml: Mapped[float] = mapped_column(comment="Millilitres")


class Model(Base):
    """What predicts masks: a teacher or student trained here, or a name for imported predictions."""

    __tablename__ = "model"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[ModelKind]
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_version.id"))
    profile: Mapped[dict[str, Any] | None] = mapped_column(comment="The settings it was trained with")
    origins: Mapped[list[Any] | None] = mapped_column(comment="Origins of the labels it was trained on")
    code_version: Mapped[str | None] = mapped_column(String(100))
    weights_path: Mapped[str | None] = mapped_column(Text, comment="Folder, relative to the workspace")
    weights_hash: Mapped[str | None] = mapped_column(String(64), comment="SHA-256")
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    curves: Mapped[list[Any]] = mapped_column(default=list, comment="One object per epoch")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Prediction(Base):
    """One model's mask for one case. The newest of a (case, model) pair counts."""

    __tablename__ = "prediction"
    __table_args__ = (Index(None, "case_id", "model_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    incoming_hash: Mapped[str | None] = mapped_column(String(64), comment="SHA-256 of the bytes that came in")
    incoming_path: Mapped[str | None] = mapped_column(Text, comment="Where the incoming bytes were read")
    file_hash: Mapped[str] = mapped_column(String(64), comment="SHA-256 of the stored bytes")
    voxel_hash: Mapped[str] = mapped_column(String(64))
    compared_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("mask_version.id"), comment="What agreement was measured against"
    )
    seconds: Mapped[float | None] = mapped_column(comment="Wall time of the prediction, s")
    peak_memory_mb: Mapped[float | None] = mapped_column(comment="MB")
    memory_area_mb_s: Mapped[float | None] = mapped_column(comment="Area under the memory-time curve, MB s")
    image_hash: Mapped[str | None] = mapped_column(
        String(64), comment="BLAKE3 of the bytes of the image it was made on"
    )
    probability_hash: Mapped[str | None] = mapped_column(
        String(64),
        comment="SHA-256 of the stored map of its probabilities, in percent; NULL where none was kept",
    )
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class PredictionPart(Base):
    """A prediction that was combined from others: which ones."""

    __tablename__ = "prediction_part"
    __table_args__ = (CheckConstraint("part_id <> prediction_id", name="part_of_another"),)

    prediction_id: Mapped[int] = mapped_column(ForeignKey("prediction.id"), primary_key=True)
    part_id: Mapped[int] = mapped_column(ForeignKey("prediction.id"), primary_key=True, index=True)


class PredictionClass(Base):
    """What one prediction says of one class; 0 voxels: the model found it nowhere."""

    __tablename__ = "prediction_class"
    __table_args__ = (
        CheckConstraint(_CLASS_IN_TABLE, name="class_in_table"),
        CheckConstraint("voxels >= 0 AND volume_ml >= 0", name="volume_not_negative"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_in_range"),
        CheckConstraint("tta_disagreement BETWEEN 0 AND 1", name="tta_disagreement_in_range"),
        CheckConstraint("agreement BETWEEN 0 AND 1", name="agreement_in_range"),
    )

    prediction_id: Mapped[int] = mapped_column(ForeignKey("prediction.id"), primary_key=True)
    class_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    voxels: Mapped[int]
    volume_ml: Mapped[float] = mapped_column(comment="Millilitres")
    confidence: Mapped[float | None] = mapped_column(comment="Mean probability over its voxels, 0 to 1")
    tta_disagreement: Mapped[float | None] = mapped_column(
        comment="Share of its voxels that mirrored passes dispute, 0 to 1"
    )
    agreement: Mapped[float | None] = mapped_column(
        comment="Dice with the annotated class of compared_version_id, 0 to 1"
    )


class Decision(Base):
    """A person's verdict on a class; it holds for later versions while the class is unchanged."""

    __tablename__ = "decision"
    __table_args__ = (
        CheckConstraint(_CLASS_IN_TABLE, name="class_in_table"),
        Index(None, "case_id", "class_id", "class_hash"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    class_id: Mapped[int] = mapped_column(SmallInteger)
    class_hash: Mapped[str | None] = mapped_column(String(64), comment="NULL: the class had no voxels")
    verdict: Mapped[Verdict]
    reason: Mapped[str] = mapped_column(Text)
    model_id: Mapped[int | None] = mapped_column(
        ForeignKey("model.id"), comment="Whose pseudo label was judged"
    )
    person: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class FindingRow(Base):
    """What a quality check noticed in one version."""

    __tablename__ = "finding"
    __table_args__ = (
        CheckConstraint(_CLASS_IN_TABLE, name="class_in_table"),
        CheckConstraint("(state = 'open') = (decided_at IS NULL)", name="decided_unless_open"),
        CheckConstraint("(person IS NULL) = (decided_at IS NULL)", name="decided_by_someone"),
        Index(None, "version_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("mask_version.id"))
    class_id: Mapped[int | None] = mapped_column(SmallInteger, comment="NULL: the whole mask")
    check: Mapped[str] = mapped_column(String(60), index=True)
    severity: Mapped[Severity]
    value: Mapped[float]
    limit: Mapped[float]
    message: Mapped[str] = mapped_column(Text)
    state: Mapped[FindingState] = mapped_column(default=FindingState.OPEN)
    person: Mapped[str | None] = mapped_column(String(200), comment="Who dismissed or fixed it")
    reason: Mapped[str | None] = mapped_column(Text, comment="Why it was dismissed")
    decided_at: Mapped[datetime | None] = mapped_column(comment="UTC")


class Run(Base):
    """One execution of a stage. `key` names the work, so that starting it again finds what is left."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished_unless_running"),
        Index(None, "stage", "key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(String(60))
    key: Mapped[str | None] = mapped_column(String(300), comment="NULL: never resumed")
    state: Mapped[RunState] = mapped_column(default=RunState.RUNNING)
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    author: Mapped[str] = mapped_column(String(200))
    program_version: Mapped[str] = mapped_column(String(100))
    total: Mapped[int | None] = mapped_column(comment="Items to do; NULL where unknown")
    message: Mapped[str] = mapped_column(Text, default="")
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict, comment="The latest progress event")
    batches: Mapped[int] = mapped_column(
        default=0, server_default="0", comment="Batches committed; tells whether one got through"
    )
    started_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")
    finished_at: Mapped[datetime | None] = mapped_column(comment="UTC")


class RunItem(Base):
    """What a run did with one case or file, and why not where it did not."""

    __tablename__ = "run_item"
    __table_args__ = (Index(None, "run_id", "state"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    case_id: Mapped[int | None] = mapped_column(ForeignKey("case.id"))
    subject: Mapped[str] = mapped_column(Text, comment="File or case")
    state: Mapped[ItemState]
    reason: Mapped[str] = mapped_column(Text, default="")
    seconds: Mapped[float | None] = mapped_column(comment="Wall time, s")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Dataset(Base):
    """A named training set; its states are dataset versions."""

    __tablename__ = "dataset"
    __table_args__ = (CheckConstraint(_ADDRESSABLE, name="name_addressable"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class DatasetVersion(Base):
    """A frozen training set: which version of which case, in which split; never changed."""

    __tablename__ = "dataset_version"
    __table_args__ = (
        UniqueConstraint("dataset_id", "number"),
        CheckConstraint("number >= 1", name="number_from_one"),
        CheckConstraint("val_share IS NULL OR folds IS NULL", name="share_or_folds"),
        CheckConstraint("val_share >= 0 AND val_share < 1", name="val_share_in_range"),
        CheckConstraint("folds >= 2", name="folds_from_two"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id"))
    number: Mapped[int]
    query: Mapped[str] = mapped_column(Text)
    origins: Mapped[list[Any]] = mapped_column(comment="Origins whose classes count; others are missing")
    val_share: Mapped[float | None] = mapped_column(comment="Share of the members, 0 to 1; NULL with folds")
    folds: Mapped[int | None] = mapped_column(comment="NULL without cross validation")
    seed: Mapped[int]
    manifest_hash: Mapped[str] = mapped_column(String(64), comment="SHA-256 of the canonical manifest")
    author: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Member(Base):
    """One case of a frozen dataset, pinned to one mask version."""

    __tablename__ = "member"
    __table_args__ = (
        ForeignKeyConstraint(["case_id", "version_id"], ["mask_version.case_id", "mask_version.id"]),
        CheckConstraint("fold >= 0", name="fold_from_zero"),
    )

    dataset_version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id"), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"), primary_key=True)
    version_id: Mapped[int] = mapped_column(index=True)
    split: Mapped[Split]
    fold: Mapped[int | None] = mapped_column(comment="The fold that validates on it, from 0")
    patient: Mapped[str | None] = mapped_column(String(600), comment="As it was when it was frozen")
    licence: Mapped[str | None] = mapped_column(String(200), comment="As it was when it was frozen")


class Evaluation(Base):
    """One score: a prediction against a reference version, per class."""

    __tablename__ = "evaluation"
    __table_args__ = (
        UniqueConstraint("model_id", "case_id", "class_id", "protocol"),
        CheckConstraint(_CLASS_IN_TABLE, name="class_in_table"),
        CheckConstraint("protocol IN ('flare23', 'known')", name="protocol_known"),
        CheckConstraint("dsc BETWEEN 0 AND 1 AND nsd BETWEEN 0 AND 1", name="scores_in_range"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    prediction_id: Mapped[int] = mapped_column(ForeignKey("prediction.id"))
    reference_version_id: Mapped[int] = mapped_column(ForeignKey("mask_version.id"))
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    class_id: Mapped[int] = mapped_column(SmallInteger)
    protocol: Mapped[str] = mapped_column(String(20), comment="flare23 or known")
    implementation: Mapped[str] = mapped_column(String(60))
    dsc: Mapped[float] = mapped_column(comment="0 to 1, 4 digits")
    nsd: Mapped[float] = mapped_column(comment="0 to 1, 4 digits")
    seconds: Mapped[float | None] = mapped_column(comment="Wall time of the prediction, s")
    peak_memory_mb: Mapped[float | None] = mapped_column(comment="MB")
    memory_area_mb_s: Mapped[float | None] = mapped_column(comment="Area under the memory-time curve, MB s")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Retraction(Base):
    """A model, run, prediction or source revision that was found bad: its labels count no more."""

    __tablename__ = "retraction"
    __table_args__ = (
        CheckConstraint(
            "CASE WHEN model_id IS NULL THEN 0 ELSE 1 END + CASE WHEN run_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN prediction_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN revision_id IS NULL THEN 0 ELSE 1 END = 1",
            name="of_one_thing",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"), index=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"), index=True)
    prediction_id: Mapped[int | None] = mapped_column(ForeignKey("prediction.id"), index=True)
    revision_id: Mapped[int | None] = mapped_column(ForeignKey("source_revision.id"), index=True)
    include_accepted: Mapped[bool] = mapped_column(comment="Whether accepted classes were taken out, too")
    reason: Mapped[str] = mapped_column(Text)
    person: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Taint(Base):
    """A frozen dataset or a model that descends from something retracted."""

    __tablename__ = "taint"
    __table_args__ = (
        CheckConstraint("(dataset_version_id IS NULL) <> (model_id IS NULL)", name="of_one_thing"),
        UniqueConstraint("retraction_id", "dataset_version_id"),
        UniqueConstraint("retraction_id", "model_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    retraction_id: Mapped[int] = mapped_column(ForeignKey("retraction.id"))
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_version.id"), index=True)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"), index=True)


class Tombstone(Base):
    """A case whose data were purged: nothing of it is kept but this, so that it is never taken in again."""

    __tablename__ = "tombstone"
    __table_args__ = (CheckConstraint("files >= 0 AND bytes >= 0", name="deleted_not_negative"),)

    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"), primary_key=True)
    patient_digest: Mapped[str] = mapped_column(
        String(64), index=True, comment="SHA-256 of the patient's identity, which itself is gone"
    )
    reason: Mapped[str] = mapped_column(Text)
    person: Mapped[str] = mapped_column(String(200))
    files: Mapped[int] = mapped_column(comment="Stored files deleted")
    bytes: Mapped[int] = mapped_column(BigInteger, comment="Bytes of them")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, comment="UTC")


class Event(Base):
    """Who did what, when, with which program version and parameters."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True, comment="UTC")
    author: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(Text, default="")
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    program_version: Mapped[str] = mapped_column(String(100))
