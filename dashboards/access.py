"""Who looks at the dashboard, and what they may do: asked whenever something is done, not only when it is offered.

With a login (an OpenID Connect provider of Streamlit's ``st.login``) a person is their e-mail address. Without one the
server listens on this machine's loopback alone, and the person is the one at work here, as for the command line.
"""

from dataclasses import dataclass, replace

import streamlit as st

from app.settings import AccessRole, Environment, read_config
from curation.errors import CurationError
from dashboards.components.markup import Html, markup
from dashboards.session import page_bench, plain, workspace
from pipelines.runs import Workbench


class AccessDeniedError(CurationError):
    """A person asked for something that their role does not include."""


@dataclass(frozen=True)
class Person:
    """Somebody who looks at the dashboard.

    Attributes:
        name: What is booked as the author of what they do: their e-mail address, or without a login the
            author as on the command line.
        role: What they may do; None: nothing at all, not even look.
        logged_in: Whether they came by a login.
        read_only: Whether the dashboard was started so that nobody changes anything.
    """

    name: str
    role: AccessRole | None
    logged_in: bool
    read_only: bool

    def may(self, role: AccessRole) -> bool:
        """Whether they may do what a role may."""
        return self.role is not None and self.role.includes(role)


def person() -> Person | None:
    """Who looks at this page now; None where a login is asked for and they have not logged in.

    Settings are read each time: a role that is taken away is gone with the next click.

    Raises:
        UsageError: The settings cannot be read.
    """
    environment, ws = Environment(), workspace()
    table = read_config(ws.root).access
    # Streamlit says so of everybody where a login is set up; the server's own word keeps a login from being lost
    # with its file while people are looking.
    said = st.user.get("is_logged_in")
    if said is None and not environment.login:
        return Person(ws.author, _capped(table.local, environment), False, environment.read_only)
    if not said:
        return None
    email = st.user.get("email")
    # A provider that lets people type any address says whether it has checked this one.
    known = isinstance(email, str) and st.user.get("email_verified") in (None, True, "true")
    name = email if isinstance(email, str) else str(st.user.get("sub") or "somebody without an address")
    role = table.role_of(email if known and isinstance(email, str) else None)
    return Person(name, _capped(role, environment), True, environment.read_only)


def may(role: AccessRole) -> bool:
    """Whether the person of this page may do what a role may: for what is offered. What is done asks `require`."""
    found = person()
    return found is not None and found.may(role)


def require(role: AccessRole, deed: str) -> Person:
    """The person of this page, provided that they may do what a role may.

    Args:
        role: The least role that may.
        deed: What they want to do, for the refusal: "reject a class".

    Raises:
        AccessDeniedError: They may not; says why, and who can change that.
    """
    found = person()
    if found is None:
        raise AccessDeniedError(
            f"you are not logged in, so you cannot {deed}; load the page again and log in"
        )
    if found.may(role):
        return found
    if found.read_only:
        raise AccessDeniedError(f"this dashboard was started with --read-only, so nobody can {deed} here")
    raise AccessDeniedError(
        f"{found.name} is {_article(found.role)} here and cannot {deed}; it takes {_article(role)}, and roles stand in "
        "[access] of maskledger.toml"
    )


def refusal(role: AccessRole, deed: str) -> str | None:
    """Why the person of this page may not do something, where they may not: for what is offered."""
    try:
        require(role, deed)
    except AccessDeniedError as error:
        return str(error)
    return None


def bench(role: AccessRole, deed: str) -> Workbench:
    """What a stage works with, in the name of the person of this page.

    Raises:
        AccessDeniedError: See `require`.
    """
    found = require(role, deed)
    return replace(page_bench(), author=found.name)


def entrance() -> bool:
    """Let a person in, or show them where to log in, or that they have no role here; returns whether they are in."""
    found = person()
    if found is None:
        st.title("maskledger")
        st.info("This dashboard is shown to people who log in.", icon=":material/lock:")
        st.button("Log in", type="primary", icon=":material/login:", on_click=st.login)
        return False
    if found.role is None:
        st.title("maskledger")
        st.error(
            plain(
                f"{found.name} has no role here. Whoever runs this dashboard gives one in [access.people] of "
                "maskledger.toml."
            ),
            icon=":material/lock:",
        )
        st.button("Log out", on_click=st.logout)
        return False
    return True


def footer() -> None:
    """Who looks, as what, and how the dashboard is served: at the end of every page."""
    found = person()
    if found is None or found.role is None:
        return
    said = [f"{found.name}, {found.role}"]
    if found.read_only:
        said.append("started with --read-only: nobody changes anything here")
    if not found.logged_in:
        said.append("no login: served to this machine only")
    line = " · ".join(said)
    with st.container(horizontal=True, key="footer", vertical_alignment="center"):
        st.html(Html(f'<span class="ml-caption">{markup(line)}</span>'), width="content")
        if found.logged_in:
            st.button("Log out", type="tertiary", icon=":material/logout:", on_click=st.logout)


def _capped(role: AccessRole | None, environment: Environment) -> AccessRole | None:
    return AccessRole.VIEWER if role is not None and environment.read_only else role


def _article(role: AccessRole | None) -> str:
    if role is None:
        return "nobody known"
    return f"an {role}" if role is AccessRole.ADMIN else f"a {role}"
