"""Training profiles: TOML files (or a job file's dictionary) read into typed settings. No torch here."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from curation.errors import UsageError

Positive = Annotated[int, Field(gt=0)]
# Voxels along nnU-Net's array axes z, y, x (inferior–superior, posterior–anterior, left–right).
PatchSize = tuple[Positive, Positive, Positive]
# Voxels along the patient's x, y, z.
StudentSize = tuple[Annotated[int, Field(ge=17)], Annotated[int, Field(ge=17)], Annotated[int, Field(ge=17)]]


# What background says of classes that nobody looked for in a case: docs/decisions/0016-what-is-missing.md.
Missing = Literal["background", "marginal", "ignore"]
# `paper`: the coarse 3D U-Net and EfficientSegNet. The others are MONAI's UNet and SegResNet.
NetworkName = Literal["paper", "unet", "segresnet"]


class Settings(BaseModel):
    """A table of a profile. A misspelt key is an error, not a setting silently left at its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TeacherProfile(Settings):
    """How nnU-Net is planned and trained. Defaults are nnU-Net's own (nnUNetTrainer, ExperimentPlanner)."""

    epochs: Positive = 1000
    steps_per_epoch: Positive = 250
    val_steps_per_epoch: Positive = 50
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=3e-5, ge=0)
    # Whose network: the U-Net of nnU-Net's paper, or one of its residual encoders, sized for about 10, 24 or 40 GB.
    planner: Literal["default", "resenc_m", "resenc_l", "resenc_xl"] = "default"
    # None leaves batch, patch and channels to nnU-Net's planner.
    batch_size: Positive | None = None
    patch_size: PatchSize | None = None
    base_features: Positive | None = None
    max_features: Positive | None = None
    deep_supervision: bool = True
    # light: no elastic deformation, no simulated low resolution; rotation and scaling in fewer samples.
    augmentation: Literal["nnunet", "light"] = "nnunet"
    # Mirror along z and y while training. Never along x: kidneys and adrenals have sides.
    mirror: bool = True
    # nnU-Net autocasts on CUDA only; this does it on a CPU too, where it has bf16 units.
    bf16_on_cpu: bool = False
    checkpoint_every: Positive = 50


class StudentStage(Settings):
    """How one of the student's networks is built and trained. Defaults are the paper's (Tables 1 and 3)."""

    # Voxels of the input along the patient's x, y, z; each axis 17 or more (four strides of two).
    size: StudentSize
    network: NetworkName = "paper"
    channels: tuple[Positive, Positive, Positive, Positive, Positive]
    dropout: float = Field(default=0.2, ge=0, lt=1)
    window_hu: tuple[float, float] = (-325.0, 325.0)
    # Pad a crop that is smaller than the input instead of enlarging it (fine stage).
    pad: bool = False
    epochs: Positive
    # None: an epoch sees every member once. A number: the training is as long whatever the number of members.
    steps_per_epoch: Positive | None = None
    warmup_epochs: int = Field(default=50, ge=0)
    batch_size: Positive = 2
    learning_rate: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=1e-5, ge=0)
    # Weigh the voxels of small classes up in the cross entropy, see balancing_weights in training/losses.py.
    balance: bool = False
    # Axes flipped at random; x swaps the labels of paired organs. "" for none.
    flips: Annotated[str, Field(pattern="^x?y?z?$")] = ""
    # Zoom, noise, smoothing, scaling and contrast of Table 1.
    augment: bool = False
    validate_every: Positive = 10
    checkpoint_every: Positive = 200

    @field_validator("channels")
    @classmethod
    def _double(cls, channels: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if info.data.get("network") == "segresnet":
            doubled = tuple(channels[0] * 2**level for level in range(len(channels)))
            if channels != doubled:
                raise ValueError(f"a SegResNet doubles its channels at every level: {list(doubled)}")
        return channels


class StudentProfile(Settings):
    """The coarse-to-fine student. `margin_mm` goes around the foreground before the fine stage."""

    coarse: StudentStage
    fine: StudentStage
    # background: it says that they are not there (the paper). marginal: it may be one of them. ignore: it says nothing.
    missing: Missing = "background"
    margin_mm: float = Field(default=20.0, ge=0)


class PredictProfile(Settings):
    """How a trained model is applied to a case."""

    # The teacher's alone: average over mirrored inputs; sliding-window step as a share of the patch.
    tta: bool = True
    tile_step: float = Field(default=0.5, gt=0, le=1)
    keep_largest: bool = True
    # Keep a map of each voxel's probability in the store; `complement --uncertain-below` reads it.
    probabilities: bool = False


class Profile(Settings):
    """One profile file, e.g. `paper.toml`."""

    name: str
    teacher: TeacherProfile = TeacherProfile()
    student: StudentProfile | None = None
    predict: PredictProfile = PredictProfile()


def builtin_names() -> list[str]:
    """Names of the profiles that come with maskledger, sorted."""
    folder = resources.files("pipelines.training.profiles")
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".toml"))


def load_profile(name_or_path: str) -> Profile:
    """Read a built-in profile by name, or any file that ends in .toml.

    Raises:
        UsageError: No such profile or file, not TOML, or a key or value that the settings refuse.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise UsageError(f"{path}: no such profile file; built-in are {', '.join(builtin_names())}")
        return parse_profile(path.read_text(encoding="utf-8"), str(path), name=path.stem)
    if name_or_path not in builtin_names():
        raise UsageError(
            f"unknown profile '{name_or_path}'; built-in profiles are {', '.join(builtin_names())}, "
            "or give a file that ends in .toml"
        )
    file = resources.files("pipelines.training.profiles") / f"{name_or_path}.toml"
    return parse_profile(file.read_text(encoding="utf-8"), f"{name_or_path}.toml", name=name_or_path)


def parse_profile(text: str, filename: str, *, name: str) -> Profile:
    """Read one profile's TOML text; `filename` is for messages, `name` is what the model's books will say.

    Raises:
        UsageError: As `load_profile`.
    """
    try:
        return Profile.model_validate({"name": name, **tomllib.loads(text)})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{filename}: not TOML ({error}); compare with profiles/quick.toml") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        found = f"{key} = {first['input']!r}: {first['msg']}"
        raise UsageError(f"{filename}: {found}; correct or remove it") from error
