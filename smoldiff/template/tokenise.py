"""Text to the tokens that the base itself would write.

The base writes `{"` as one token where text and slots tokenised apart give two, and a base that never saw the split
continues badly. So written text and what follows it are always tokenised together, from the last control token on;
only where the base itself split a token differently do new tokens start at the base's own boundary.
"""

from collections.abc import Mapping, Sequence

from smoldiff.template.vocabulary import Vocabulary

Part = tuple[str, bool]
"""A text, and whether the tokenizer may hold it as a control token."""


def tokenise(
    vocabulary: Vocabulary, written: Sequence[int], parts: Sequence[Part]
) -> tuple[int, ...]:
    """Token ids of `parts` behind the tokens `written`, as the base would write the whole.

    Nothing where `written` ends inside a character. Raises TemplateError for text that the tokenizer changes.
    """
    runs = _runs(parts, vocabulary.added)
    ids: list[int] = []
    if runs and not runs[0][1]:
        try:
            ids += _continue(vocabulary, _tail(vocabulary, written), runs[0][0])
        except UnicodeDecodeError:
            return ()
        runs = runs[1:]
    for text, is_control in runs:
        ids += [vocabulary.added[text]] if is_control else vocabulary.encode(text)
    return tuple(ids)


def tokenise_exactly(vocabulary: Vocabulary, parts: Sequence[Part]) -> tuple[int, ...]:
    """Token ids of `parts`; text that the tokenizer changes (it may normalise) in the longest tokens that fit."""
    ids: list[int] = []
    for text, is_control in _runs(parts, vocabulary.added):
        ids += [vocabulary.added[text]] if is_control else vocabulary.encode_bytes(text.encode())
    return tuple(ids)


def _tail(vocabulary: Vocabulary, written: Sequence[int]) -> str:
    """The text behind the last control token."""
    anchor = len(written)
    while anchor and written[anchor - 1] not in vocabulary.added_ids:
        anchor -= 1
    return vocabulary.bytes_of(written[anchor:]).decode()


def _runs(parts: Sequence[Part], added: Mapping[str, int]) -> list[Part]:
    """Neighbouring ordinary texts joined; a control text without a token of its own is ordinary."""
    runs: list[Part] = []
    for text, is_special in parts:
        is_control = is_special and text in added
        if runs and not is_control and not runs[-1][1]:
            runs[-1] = (runs[-1][0] + text, False)
        elif text:
            runs.append((text, is_control))
    return runs


def _continue(vocabulary: Vocabulary, head: str, text: str) -> list[int]:
    """Tokens of `text` behind `head`: those of the whole, if the whole has a boundary there."""
    if not head:
        return vocabulary.encode(text)
    whole = vocabulary.encode(head + text)
    num_bytes = len(head.encode())
    for i, end in enumerate(vocabulary.ends(whole)):
        if end == num_bytes:
            return whole[i + 1 :]
        if end > num_bytes:
            break
    return vocabulary.encode(text)
