"""Saved queries within a query: the tree that each ``@NAME`` stands for takes its place, within the limits."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NoReturn

from curation.query import And, Node, Not, Or, QueryError, Saved, format_query, parse
from curation.query_errors import Refusal, listed, nearest
from curation.query_grammar import MAX_LENGTH, check_size

# How many different saved queries one query may lead to; with the limit on their length it bounds the time.
MAX_SAVED = 50


def saved_within(node: Node) -> Iterator[Saved]:
    """The saved queries that a tree names, in the order in which they are written."""
    match node:
        case And(terms) | Or(terms):
            for term in terms:
                yield from saved_within(term)
        case Not(term):
            yield from saved_within(term)
        case Saved():
            yield node


def expand(
    text: str,
    look_up: Callable[[Collection[str]], Mapping[str, str]],
    all_names: Callable[[], Collection[str]],
) -> Node:
    """Read a query and put the trees of saved queries in their places, and of those that they use in turn.

    Args:
        text: The query.
        look_up: Gives the texts of those of the names that are saved.
        all_names: Gives every name; asked only to suggest the nearest where one is unknown.

    Raises:
        QueryError: The text is no query; it leads to a name that is not saved, to a saved text that cannot be
            read, or back to itself; or it is too large once spelled out. The position is that in `text`.
    """
    node = parse(text)
    if next(saved_within(node), None) is None:
        return node
    return _Expansion(text, node, look_up, all_names).tree()


class _Expansion:
    """One query with all that it leads to.

    Attributes:
        trees: Name to the tree of its text, as it is written.
        reached: Name to the place where it was met first: the name whose text that is in (None for the query).
    """

    def __init__(
        self,
        text: str,
        node: Node,
        look_up: Callable[[Collection[str]], Mapping[str, str]],
        all_names: Callable[[], Collection[str]],
    ) -> None:
        self.text, self.node = text, node
        self.trees: dict[str, Node] = {}
        self.reached: dict[str, tuple[str | None, Saved]] = {}
        self._read(look_up, all_names)

    def _read(
        self,
        look_up: Callable[[Collection[str]], Mapping[str, str]],
        all_names: Callable[[], Collection[str]],
    ) -> None:
        """Parse everything that the query leads to, one look-up per level."""
        length = 0
        wanted = self._meet(None, self.node)
        while wanted:
            found = look_up(wanted)
            length += sum(map(len, found.values()))
            if len(self.reached) > MAX_SAVED or length > MAX_LENGTH:
                self._refuse(
                    wanted[0],
                    f"the query leads to more than {MAX_SAVED} saved queries or {MAX_LENGTH} characters",
                    "take it apart",
                )
            for name in wanted:
                if name not in found:
                    self._refuse_unknown(name, all_names())
                try:
                    self.trees[name] = parse(found[name])
                except QueryError as error:
                    self._refuse(
                        name,
                        f"its text can no longer be read ({error})",
                        f"save '@{name}' anew with --replace",
                    )
            wanted = [new for name in wanted for new in self._meet(name, self.trees[name])]

    def _meet(self, within: str | None, node: Node) -> list[str]:
        """The names in a tree that were not met before."""
        new = []
        for saved in saved_within(node):
            if saved.name not in self.reached:
                self.reached[saved.name] = (within, saved)
                new.append(saved.name)
        return new

    def tree(self) -> Node:
        """The query's tree with every saved query spelled out, from those that use no other upwards."""
        whole: dict[str, Node] = {}
        waiting = dict(self.trees)
        while waiting:
            ready = [name for name, tree in waiting.items() if _names(tree) <= whole.keys()]
            if not ready:
                self._refuse_cycle(waiting)
            for name in ready:
                whole[name] = self._sized(name, _replaced(waiting.pop(name), whole))
        node = self._sized(None, _replaced(self.node, whole))
        length = len(format_query(node))
        if length > MAX_LENGTH:
            raise self._error(
                0,
                f"the query is {length} characters long once its saved queries are spelled out",
                f"only {MAX_LENGTH} are read; take it apart",
            )
        return node

    def _sized(self, name: str | None, node: Node) -> Node:
        try:
            check_size(node)
        except Refusal as refusal:
            if name is not None:
                self._refuse(name, refusal.problem, refusal.remedy)
            raise self._error(
                0, f"{refusal.problem} once its saved queries are spelled out", refusal.remedy
            ) from None
        return node

    def _refuse_unknown(self, name: str, names: Collection[str]) -> NoReturn:
        within, saved = self.reached[name]
        near = nearest(name, tuple(names))
        some = sorted(names)[:10]
        known = f"saved queries are {listed(f'@{known}' for known in some)}" if some else "none is saved yet"
        remedy = f"did you mean '@{near}'?" if near else f"{known}; see 'maskledger query list'"
        if within is None:
            raise QueryError(
                f"unknown saved query '@{name}'",
                remedy,
                query=self.text,
                position=saved.position,
                expected=tuple(f"@{known}" for known in names),
                suggestion=near and f"@{near}",
            )
        self._refuse(within, f"it uses '@{name}', which is not saved", remedy)

    def _refuse_cycle(self, waiting: Mapping[str, Node]) -> NoReturn:
        # Every waiting query uses a waiting one: going on from use to use comes round.
        path = [next(iter(waiting))]
        while path[-1] not in path[:-1]:
            path.append(next(s.name for s in saved_within(waiting[path[-1]]) if s.name in waiting))
        circle = path[path.index(path[-1]) :]
        self._refuse(
            circle[0],
            f"it uses itself: {_chain([f'@{name}' for name in circle])}",
            "save one of them anew with --replace",
        )

    def _refuse(self, name: str, reason: str, remedy: str) -> NoReturn:
        """Say what is wrong with a saved query, at the place of the query that leads to it."""
        path = [name]
        within, saved = self.reached[name]
        while within is not None:
            path.insert(0, within)
            within, saved = self.reached[within]
        steps = [f"@{step}" for step in path]
        by = f" by {_chain(steps)}" if len(path) > 1 else ""
        what = (
            f"'@{path[0]}' leads to '@{name}'{by}, which cannot be used"
            if by
            else f"'@{name}' cannot be used"
        )
        raise self._error(saved.position, what, f"{reason}; {remedy}")

    def _error(self, position: int, problem: str, remedy: str) -> QueryError:
        return QueryError(problem, remedy, query=self.text, position=position)


def _chain(steps: list[str]) -> str:
    return " → ".join(steps if len(steps) < 6 else [*steps[:2], "…", *steps[-2:]])


def _names(node: Node) -> set[str]:
    return {saved.name for saved in saved_within(node)}


def _replaced(node: Node, trees: Mapping[str, Node]) -> Node:
    match node:
        case And(terms):
            return And(tuple(_replaced(term, trees) for term in terms))
        case Or(terms):
            return Or(tuple(_replaced(term, trees) for term in terms))
        case Not(term):
            return Not(_replaced(term, trees))
        case Saved(name):
            return trees[name]
    return node
