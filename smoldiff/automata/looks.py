"""Determinisation of patterns with lookarounds, by threads.

A thread is a node of the automaton with what it still owes: states of the automata of lookaheads that it has passed,
which the rest of the text must satisfy. A lookbehind's automaton reads the text from its start and says at each place
whether the guard holds. Patterns without lookarounds go straight to the subset construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from smoldiff.automata.alphabet import Alphabet
from smoldiff.automata.dfa import DEAD
from smoldiff.automata.errors import Unsupported
from smoldiff.automata.nfa import MATCH, Nfa, nfa_of
from smoldiff.automata.pattern import Begin, Choice, End, Look, Node, Repeat, Sequence
from smoldiff.automata.subset import Budget, Search, check_size, subset_construction
from smoldiff.automata.symbols import Row, SymbolDfa, complement, trim

Debt = tuple[int, int]
"""An automaton of a lookahead and the state that it is in."""
Thread = tuple[int, frozenset[Debt]]
State = tuple[tuple[int, ...], frozenset[Thread]]
"""The lookbehinds' states and the threads."""

_MATCHED: State = ((), frozenset({(MATCH, frozenset())}))
"""Whatever follows, the text matches."""


def determinise(
    tree: Node, alphabet: Alphabet, search: Search, max_states: int, budget: Budget
) -> SymbolDfa:
    """The texts in which a tree matches. Raises TooComplex, Unsupported."""
    nfa = nfa_of(tree, alphabet)
    if not nfa.looks:
        return subset_construction(nfa, alphabet.num_symbols, search, max_states, budget)
    aheads = _Aheads(alphabet, max_states, budget)
    behinds = {
        look: _behind(look, alphabet, search, max_states, budget)
        for look in nfa.looks
        if look.is_behind
    }
    return _Threads(nfa, alphabet.num_symbols, search, aheads, behinds, budget).run(max_states)


def _behind(
    look: Look, alphabet: Alphabet, search: Search, max_states: int, budget: Budget
) -> SymbolDfa:
    if not (search.restarts and search.at_begin):
        raise Unsupported("a lookbehind inside a lookahead")
    if _has(look.body, End):
        raise Unsupported("the end of the text inside a lookbehind")
    return determinise(look.body, alphabet, replace(search, is_open=False), max_states, budget)


def _has(node: Node, kind: type[Begin] | type[End]) -> bool:
    match node:
        case Sequence(parts) | Choice(parts):
            return any(_has(part, kind) for part in parts)
        case Repeat(body) | Look(body):
            return _has(body, kind)
    return isinstance(node, kind)


@dataclass
class _Aheads:
    """The automata of lookaheads, built when a thread first passes one."""

    alphabet: Alphabet
    max_states: int
    budget: Budget
    dfas: list[SymbolDfa] = field(default_factory=list)
    index: dict[tuple[Look, bool], int] = field(default_factory=dict)

    def debt(self, look: Look, at_begin: bool) -> Debt | None:
        """What a thread owes that passes `look`; None where it cannot."""
        key = (look, at_begin and _has(look.body, Begin))
        if key not in self.index:
            self.index[key] = len(self.dfas)
            self.dfas.append(self._build(look, key[1]))
        return (self.index[key], 0) if self.dfas[self.index[key]].rows else None

    def _build(self, look: Look, at_begin: bool) -> SymbolDfa:
        search = Search(restarts=False, is_open=True, at_begin=at_begin)
        found = determinise(look.body, self.alphabet, search, self.max_states, self.budget)
        return complement(found, self.alphabet.num_symbols) if look.is_negative else trim(found)

    def step(self, debts: frozenset[Debt], symbol: int) -> frozenset[Debt] | None:
        """What is owed behind a symbol; None where it cannot be paid any more."""
        left = [(i, self.dfas[i].rows[state][symbol]) for i, state in debts]
        if any(state == DEAD for _, state in left):
            return None
        return frozenset(debt for debt in left if not self.dfas[debt[0]].is_universal(debt[1]))

    def is_paid(self, debts: frozenset[Debt]) -> bool:
        """Whether the text may end here."""
        return all(self.dfas[i].accepts[state] for i, state in debts)


@dataclass
class _Threads:
    nfa: Nfa
    num_symbols: int
    search: Search
    aheads: _Aheads
    behinds: dict[Look, SymbolDfa]
    budget: Budget
    closures: dict[tuple[int, bool, bool, frozenset[Look]], frozenset[Thread]] = field(
        default_factory=dict
    )

    def run(self, max_states: int) -> SymbolDfa:
        order: list[State] = []
        numbers: dict[State, int] = {}
        rows: list[Row] = []

        def number(state: State) -> int:
            if state not in numbers:
                numbers[state] = len(order)
                order.append(state)
            return numbers[state] if state[1] else DEAD

        # The start is a state of its own: only there `^` holds.
        places = tuple(0 if dfa.rows else DEAD for dfa in self.behinds.values())
        at_begin = self.search.at_begin
        first = self.closure(self.nfa.start, at_begin, False, self.holding(places))
        order.append((places, _least(first)))
        for state in order:
            rows.append([number(self.step(state, symbol)) for symbol in range(self.num_symbols)])
            check_size(len(order), max_states)
        accepts = [self.accepts(state, at_begin and i == 0) for i, state in enumerate(order)]
        return SymbolDfa(rows, accepts)

    def holding(self, places: tuple[int, ...]) -> frozenset[Look]:
        """The lookbehinds that hold where their automata are in these states."""
        return frozenset(
            look
            for (look, dfa), place in zip(self.behinds.items(), places, strict=True)
            if (place != DEAD and dfa.accepts[place]) != look.is_negative
        )

    def closure(
        self, start: int, at_begin: bool, at_end: bool, holding: frozenset[Look]
    ) -> frozenset[Thread]:
        """The threads that silent steps lead to from a node, at its reading, waiting or matching nodes."""
        key = (start, at_begin, at_end, holding)
        if key not in self.closures:
            seen: set[Thread] = {(start, frozenset())}
            stack = list(seen)
            while stack:
                new = set(self.silent(stack.pop(), at_begin, at_end, holding)) - seen
                seen |= new
                stack += new
            self.budget.spend(8 * len(seen))
            self.closures[key] = _least(frozenset(t for t in seen if self.is_stop(t[0])))
        return self.closures[key]

    def is_stop(self, node: int) -> bool:
        waits = isinstance(self.nfa.guards[node], End)
        return node == MATCH or bool(self.nfa.reads[node]) or waits

    def silent(
        self, thread: Thread, at_begin: bool, at_end: bool, holding: frozenset[Look]
    ) -> list[Thread]:
        node, debts = thread
        guard = self.nfa.guards[node]
        if self.nfa.reads[node]:
            return []
        match guard:
            case Begin() if not at_begin:
                return []
            case End() if not at_end:
                return []
            case Look(is_behind=True) if guard not in holding:
                return []
            case Look(is_behind=False):
                debt = self.aheads.debt(guard, at_begin)
                if debt is None:
                    return []
                if not self.aheads.dfas[debt[0]].is_universal(0):
                    debts = debts | {debt}
        return [(target, debts) for target in self.nfa.targets[node]]

    def step(self, state: State, symbol: int) -> State:
        if state == _MATCHED:
            return state
        places, threads = state
        dfas = self.behinds.values()
        places = tuple(
            DEAD if place == DEAD else dfa.rows[place][symbol]
            for dfa, place in zip(dfas, places, strict=True)
        )
        holding = self.holding(places)
        found: set[Thread] = set()
        if self.search.restarts:
            found |= self.closure(self.nfa.start, False, False, holding)
        for node, debts in threads:
            is_open = node == MATCH and self.search.is_open
            if not is_open and not self.nfa.reads[node] >> symbol & 1:
                continue
            left = self.aheads.step(debts, symbol)
            if left is not None:
                target = MATCH if is_open else self.nfa.targets[node][0]
                behind = self.closure(target, False, False, holding)
                found.update((stop, left | more) for stop, more in behind)
        self.budget.spend(8 + 8 * len(found) + 4 * len(threads))
        if self.search.is_open and (MATCH, frozenset()) in found:
            return _MATCHED
        return places, _least(frozenset(found))

    def accepts(self, state: State, at_begin: bool) -> bool:
        if state == _MATCHED:
            return True
        places, threads = state
        holding = self.holding(places)
        ends = [
            debts | more
            for node, debts in threads
            for stop, more in self.closure(node, at_begin, True, holding)
            if stop == MATCH
        ]
        if at_begin:
            first = self.closure(self.nfa.start, True, True, holding)
            ends += [more for stop, more in first if stop == MATCH]
        return any(map(self.aheads.is_paid, ends))


def _least(threads: frozenset[Thread]) -> frozenset[Thread]:
    """The threads without those that owe more than another at the same node."""
    if not any(debts for _, debts in threads):
        return threads
    by_node: dict[int, list[frozenset[Debt]]] = {}
    for node, debts in sorted(threads, key=lambda thread: len(thread[1])):
        kept = by_node.setdefault(node, [])
        if not any(less <= debts for less in kept):
            kept.append(debts)
    return frozenset((node, debts) for node, kept in by_node.items() for debts in kept)
