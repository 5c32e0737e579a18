"""Settings: `maskledger.toml` of a workspace, overridden by the environment; and who is at work."""

import getpass
import os
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from curation.errors import UsageError
from db.patience import PATIENCE_S

CONFIG_NAME = "maskledger.toml"
DEFAULT_CONFIG = """\
# A maskledger workspace. Paths are relative to this folder.

[catalog]
# sqlite:///FILE, or postgresql://USER@HOST/NAME; MASKLEDGER_DATABASE_URL overrides it.
url = "sqlite:///catalog.db"

[store]
# Folder of the immutable mask files; MASKLEDGER_STORE overrides it.
path = "store"
"""


class Environment(BaseSettings):
    """What the environment says; empty values count as unset."""

    model_config = SettingsConfigDict(env_prefix="MASKLEDGER_", env_ignore_empty=True)

    workspace: Path | None = None
    database_url: str | None = None
    store: Path | None = None
    author: str | None = None
    # How long a command that is under way waits for a database server that is gone, in seconds.
    patience_s: float = PATIENCE_S


class CatalogTable(BaseModel):
    """[catalog] of the settings file."""

    model_config = ConfigDict(extra="forbid")

    url: str = "sqlite:///catalog.db"


class StoreTable(BaseModel):
    """[store] of the settings file."""

    model_config = ConfigDict(extra="forbid")

    path: Path = Path("store")


class ConfigFile(BaseModel):
    """The whole of `maskledger.toml`."""

    model_config = ConfigDict(extra="forbid")

    catalog: CatalogTable = CatalogTable()
    store: StoreTable = StoreTable()


def read_config(root: Path) -> ConfigFile:
    """Read a workspace's settings file.

    Raises:
        UsageError: It is absent, not TOML, or has a key that is none of ours.
    """
    path = root / CONFIG_NAME
    try:
        return ConfigFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(
            f"{root}: no workspace here ({CONFIG_NAME} is absent); run `maskledger --workspace DIR init`, "
            "or name one with --workspace or MASKLEDGER_WORKSPACE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML ({error}); correct the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg']}; correct the file") from error


def absolute_url(url: str, root: Path) -> str:
    """Make the path of a SQLite URL independent of the current folder; other URLs stay as they are."""
    prefix = "sqlite:///"
    if url.startswith(prefix) and not Path(url.removeprefix(prefix)).is_absolute():
        return prefix + str((root / url.removeprefix(prefix)).resolve())
    return url


def author(environment: Environment) -> str:
    """Who is at work: MASKLEDGER_AUTHOR, else git's user.name, else the system's user."""
    if environment.author:
        return environment.author
    try:
        named = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except OSError:
        named = ""
    return named or getpass.getuser()


def program_version() -> str:
    """Version of this program; from a git checkout with the commit that it stands on."""
    released = version("maskledger")
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return released
    try:
        described = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()  # fmt: skip
    except OSError:
        described = ""
    return f"{released}+{described}" if described else released
