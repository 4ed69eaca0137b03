"""An answer while it comes about, in the terminal: slots from grey to coloured, then what the base says to them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from smoldiff.decode.denoise import SlotFill
from smoldiff.decode.observer import Verdict
from smoldiff.scaffold.cursor import Gap
from smoldiff.scaffold.remainder import Remainder
from smoldiff.template.vocabulary import Vocabulary

FRAME_S = 0.35
"""How long a frame stands at least: a small model would be done before an eye could follow."""
EMPTY = "____"
OPEN, REFUSED, ACCEPTED, OWN, CORRECTED = "grey50", "dim", "green", "cyan", "bold magenta"
SHADES = ((0.95, "green"), (0.8, "yellow"), (0.5, "dark_orange"), (0.0, "red"))
"""The least chance that a token has to be right for each colour."""


class Watch:
    """An observer that hands every frame to `show`: a line that says what it is, and the answer as it stands."""

    def __init__(self, vocabulary: Vocabulary, show: Frames) -> None:
        self._vocabulary, self._show = vocabulary, show
        self._rest: Remainder | None = None
        self._written = ""
        self._num_drafts = 0

    def opened(self, written: str, rest: Remainder) -> None:
        self._written, self._rest = written, rest
        name = f"draft {self._num_drafts}" if self._num_drafts else "sketch"
        self._num_drafts += 1
        self._show.frame(name, self._drafted([]))

    def filled(self, step: int, fills: Sequence[SlotFill]) -> None:
        self._show.frame(f"step {step + 1}", self._drafted(fills))

    def verified(self, verdict: Verdict) -> None:
        own = CORRECTED if verdict.refused else OWN
        body = Text.assemble(
            verdict.written,
            (verdict.accepted, ACCEPTED),
            (verdict.own, own),
            (verdict.refused, REFUSED),
        )
        name = (
            f"verified, but here the base writes {verdict.own!r}" if verdict.refused else "verified"
        )
        self._show.frame(name, body)

    def _drafted(self, fills: Sequence[SlotFill]) -> Text:
        """What is written and what follows it, with the slots as they are filled."""
        assert self._rest is not None  # `opened` comes before `filled`
        by_pointer = {fill.asked.open_slot.pointer: fill for fill in fills}
        body = Text(self._written)
        for piece in self._rest.pieces:
            if not isinstance(piece, Gap):
                body.append(piece.text)
            elif (fill := by_pointer.get(piece.pointer)) and fill.token_ids:
                body.append_text(self._coloured(fill, len(piece.written.encode())))
            else:
                body.append(EMPTY, OPEN)
        return body

    def _coloured(self, fill: SlotFill, num_written: int) -> Text:
        """A slot's text behind its first bytes, which stand before it, each token in the colour of its chance."""
        body, held, start = Text(), b"", 0
        for token_id, chance in zip(fill.token_ids, fill.chances, strict=False):
            token = self._vocabulary.bytes_of([token_id])
            held += token[max(0, num_written - start) :]
            start += len(token)
            try:
                body.append(held.decode(), shade(chance))
            except UnicodeDecodeError:  # a character of several tokens has the colour of its last
                continue
            held = b""
        return body


def shade(chance: float) -> str:
    """The colour of a chance."""
    return next(colour for least, colour in SHADES if chance >= least)


class Frames:
    """Frames in one place of a terminal, or one after another where there is none."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console, self._live = console, live

    def frame(self, name: str, body: Text) -> None:
        body.overflow, body.no_wrap = "fold", False
        if self._live is None:
            self._console.print(Text(name, "bold"), body, sep="\n", soft_wrap=True)
            return
        self._live.update(Group(Text(name, "bold"), body), refresh=True)
        time.sleep(FRAME_S)


@contextmanager
def watching(console: Console, vocabulary: Vocabulary) -> Iterator[Watch]:
    """An observer for one answer, which draws on the console."""
    if not console.is_terminal:
        yield Watch(vocabulary, Frames(console, None))
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Watch(vocabulary, Frames(console, live))
