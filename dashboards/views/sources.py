"""Sources: where cases come from, what their label values mean, what was looked for, and which traps they hold."""

import shlex

import streamlit as st

from curation.mappings import LabelMapping, builtin_names, load_builtin
from dashboards.components import source_facts
from dashboards.components.commands import show_command
from dashboards.session import plain, workspace
from db import queries
from db.queries import RevisionRow, SourceRow

ws = workspace()
st.title("Sources")
with ws.catalog.reading() as session:
    sources = queries.sources(session)


def known_mapping(revision: RevisionRow) -> LabelMapping | None:
    """The mapping that comes along under a revision's name, if it reads the same values as the revision did."""
    if revision.mapping_name not in builtin_names():
        return None
    known = load_builtin(revision.mapping_name)
    return known if dict(known.values) == revision.mapping else None


def show_source(source: SourceRow) -> None:
    """One source: facts, classes by status, and its revisions."""
    left, right = st.columns([1, 1.1], gap="large")
    with left:
        st.html(source_facts.source_facts_table(source))
        if source.licence is None:
            st.caption(
                "Nobody stated a licence. Say it with: "
                + plain(
                    f"maskledger source add {shlex.quote(source.name)} --licence LICENCE --citation PAPER"
                )
            )
    with right:
        if source.cases:
            with ws.catalog.reading() as session:
                census = queries.census(session, source_facts.of_source(source.name))
            st.html(source_facts.census_table(source.name, census.classes))
    with ws.catalog.reading() as session:
        revisions = queries.revisions(session, source.id)
    if not revisions:
        st.caption("It has no revision yet: nothing was taken in of it.")
    for revision in reversed(revisions):
        st.subheader(f"Revision {plain(revision.name)}")
        known = known_mapping(revision)
        facts, values = st.columns([1.4, 1], gap="large")
        with facts:
            st.html(source_facts.revision_facts_table(source.name, revision, known))
            if known is not None and known.notes:
                st.markdown("**Known traps**")
                st.html(source_facts.notes_list(known.notes))
            elif known is None:
                st.caption(
                    "This mapping does not come with maskledger as it was used here: what it says beside its values "
                    "stands in the file that it was read from."
                )
        with values:
            st.html(
                source_facts.values_table(
                    revision.mapping, revision.protocol, f"Mapping of revision {revision.name}"
                )
            )


def show_known() -> None:
    """The datasets that are known by name, and what is known of one of them."""
    mappings = {name: load_builtin(name) for name in builtin_names()}
    st.caption(
        "`organ` means all 13. A class without voxels is absent where it was looked for, else missing."
    )
    st.html(source_facts.known_table(list(mappings.values())))
    name = st.selectbox("Mapping", list(mappings), key="mapping", bind="query-params")
    mapping = mappings[name]
    st.subheader(plain(mapping.title or name))
    facts, values = st.columns([1.4, 1], gap="large")
    with facts:
        st.html(source_facts.mapping_facts_table(mapping))
        if mapping.notes:
            st.markdown("**Known traps**")
            st.html(source_facts.notes_list(mapping.notes))
    with values:
        st.html(source_facts.values_table(mapping.values, mapping.protocol, f"Mapping {name}"))
    show_command(ws, f"ingest --source {mapping.source or 'NAME'} --labels DIR --images DIR --mapping {name}")


here, known_tab = st.tabs(["In this catalog", "Known datasets"], key="tab", bind="query-params")
if here.open:
    with here:
        if not sources:
            st.info(
                "No source is known yet: `maskledger ingest` takes one in. The other tab lists datasets whose label "
                "values are known.",
                icon=":material/info:",
            )
        else:
            st.html(source_facts.sources_table(sources))
            by_name = {source.name: source for source in sources}
            wanted = st.query_params.get("source")
            if wanted is not None and wanted not in by_name:
                st.warning(
                    f"No source is called {plain(wanted)}; choose one of these.", icon=":material/warning:"
                )
            show_source(by_name[st.selectbox("Source", list(by_name), key="source", bind="query-params")])
if known_tab.open:
    with known_tab:
        show_known()
