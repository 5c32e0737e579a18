"""Commands on saved queries."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import JsonOption, print_json, print_table, workspace_of

if TYPE_CHECKING:
    from db.queries import SavedQueryRow

query_app = typer.Typer(
    no_args_is_help=True, help="Keep queries under a name: save, list, show, delete; used as @NAME."
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="With or without @; case does not matter.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(query_app, name="query", rich_help_panel="Catalog")


@query_app.command()
def save(
    context: typer.Context,
    name: NameArgument,
    query: Annotated[
        list[str], typer.Argument(metavar="QUERY", help='E.g. "missing pancreas and not @done".')
    ],
    message: Annotated[str, typer.Option("--message", "-m", help="What it is for.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in place of what is saved under NAME.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a query under a name, to be used as @NAME wherever a query stands; by other saved queries too.

    `@todo and source = "KiTS"` finds what the saved query finds, as if it stood there in parentheses. Saving it
    anew changes what every query that uses it finds from then on; a frozen dataset keeps the query spelled out
    as it was. A name is made of letters, digits, _ . and -.

    Example: `maskledger query save todo "missing pancreas and not flagged" -m "for the spring reading"`
    """
    from pipelines.saved_queries import save as run_save

    text = " ".join(query)
    with workspace_of(context) as ws:
        done = run_save(ws.bench(), name, text, message=message, replace=replace)
    state = "unchanged" if not done.changed else "saved" if done.before is None else "replaced"
    if as_json:
        print_json({"name": done.name, "query": text, "state": state, "replaced": done.before})
    else:
        print(f"{state}: use it as @{done.name}")


@query_app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the saved queries.

    Example: `maskledger query list`
    """
    from db import queries

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        rows = queries.saved_queries(session)
    if as_json:
        print_json({"count": len(rows), "queries": [_query_json(row) for row in rows]})
    elif not rows:
        print('no query is saved yet; save one with: maskledger query save todo "missing pancreas"')
    else:
        print_table(
            ("name", "query", "message", "by", "when (UTC)"),
            [
                (
                    f"@{row.name}", row.query.replace("\n", " ") or "all",
                    f"beware: {row.problem}" if row.problem else row.message, row.author,
                    f"{row.created_at:%Y-%m-%d %H:%M}",
                )
                for row in rows
            ],
        )  # fmt: skip


@query_app.command()
def show(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one saved query: as it was written, spelled out, and how many cases it finds.

    Example: `maskledger query show todo`
    """
    from db import queries

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        row = queries.saved_query(session, name)
        found = None if row.problem else queries.count(session, f"@{row.name}")
    if as_json:
        print_json(_query_json(row) | {"cases": found})
        return
    print(f"@{row.name}  by {row.author}, {row.created_at:%Y-%m-%d %H:%M} UTC")
    if row.message:
        print(f"message: {row.message}")
    print(f"query: {row.query or 'all'}")
    if row.problem:
        print(f"beware: {row.problem}")
    else:
        print(f"spelled out: {row.spelled_out}")
        print(f"{found} cases")


def _query_json(row: "SavedQueryRow") -> dict[str, object]:
    return {
        "name": row.name,
        "query": row.query,
        "spelled_out": row.spelled_out,
        "problem": row.problem or None,
        "message": row.message,
        "author": row.author,
        "created_at": row.created_at.isoformat(),
    }


@query_app.command()
def delete(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Forget a saved query; refused while another saved query uses it. The log keeps its text.

    Example: `maskledger query delete todo`
    """
    from pipelines.saved_queries import delete as run_delete

    with workspace_of(context) as ws:
        gone = run_delete(ws.bench(), name)
    if as_json:
        print_json({"name": gone, "state": "deleted"})
    else:
        print(f"deleted: @{gone}")
