"""Settings: `maskledger.toml` of a workspace, overridden by the environment; and who is at work."""

import getpass
import os
import subprocess
import tomllib
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
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

# Who may do what in the dashboard: viewer looks, reviewer decides and corrects, admin freezes datasets, too.
# docs/dashboard.md explains this and how people log in.
# [access]
# local = "admin"      # whoever sits at this machine, where nobody logs in
# others = "viewer"    # whoever logs in and is not named below; left out: nobody else gets in
# [access.people]
# "ada@clinic.example" = "admin"
# "@clinic.example" = "reviewer"
"""


class AccessRole(StrEnum):
    """What a person may do in the dashboard; each role may do all that those before it may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADMIN = "admin"

    def includes(self, other: "AccessRole") -> bool:
        """Whether this role may do what the other one may."""
        order = list(AccessRole)
        return order.index(self) >= order.index(other)


class Environment(BaseSettings):
    """What the environment says; empty values count as unset."""

    model_config = SettingsConfigDict(env_prefix="MASKLEDGER_", env_ignore_empty=True)

    workspace: Path | None = None
    database_url: str | None = None
    store: Path | None = None
    author: str | None = None
    # Whether a dashboard lets nobody change anything; `maskledger dashboard --read-only` sets it.
    read_only: bool = False
    # Whether a dashboard shows nothing without a login; `maskledger dashboard` sets it where one is set up.
    login: bool = False
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


class AccessTable(BaseModel):
    """[access] of the settings file: people's roles in the dashboard."""

    model_config = ConfigDict(extra="forbid")

    local: AccessRole = AccessRole.ADMIN
    others: AccessRole | None = None
    people: dict[str, AccessRole] = {}

    @field_validator("people")
    @classmethod
    def _lower_case_addresses(cls, people: dict[str, AccessRole]) -> dict[str, AccessRole]:
        for address in people:
            _, at, domain = address.partition("@")
            if not at or not domain or "@" in domain:
                raise ValueError(
                    f"'{address}' is no e-mail address (name@domain) and no domain (@domain) that people log in with"
                )
        return {address.lower(): role for address, role in people.items()}

    def role_of(self, email: str | None) -> AccessRole | None:
        """The role of somebody who logged in, None where they have none: their address's, their domain's, `others`."""
        if not email:
            return self.others
        address = email.lower()
        domain = "@" + address.rpartition("@")[2]
        return self.people.get(address) or self.people.get(domain) or self.others


class ConfigFile(BaseModel):
    """The whole of `maskledger.toml`."""

    model_config = ConfigDict(extra="forbid")

    access: AccessTable = AccessTable()

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
