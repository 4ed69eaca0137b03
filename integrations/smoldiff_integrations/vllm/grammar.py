"""The masks of a draft from one call of xgrammar, where vLLM's own takes three for each token.

vLLM asks whether the grammar takes a draft's tokens, then goes through them once more for the mask of each place. Here a
draft is taken as it is: the mask of a wrong token's place excludes it, so that it is refused like any other, and what is
behind it with it. It applies to grammars of vLLM's XgrammarGrammar without a reasoner; others are vLLM's.

Read in vLLM 0.26 and 0.32, xgrammar 0.2.8.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.structured_output import StructuredOutputManager
from vllm.v1.structured_output.backend_xgrammar import XgrammarGrammar
from xgrammar import GrammarMatcher

from smoldiff_integrations.vllm.wrapping import Method, takes

Drafts = Mapping[str, list[int]]
"""Token ids by a request's id."""
OPEN = -1
"""All bits of a word of a mask: nothing is excluded."""


PARTS: tuple[tuple[type, str, str], ...] = (
    (
        StructuredOutputManager,
        "grammar_bitmask",
        "self requests structured_output_request_ids scheduled_spec_decode_tokens",
    ),
    (StructuredOutputManager, "_fill_bitmasks", "self batch"),
    (Scheduler, "update_draft_token_ids", "self draft_token_ids"),
    (XgrammarGrammar, "validate_tokens", "self tokens"),
    (
        GrammarMatcher,
        "traverse_draft_tree",
        "self retrieve_next_token retrieve_next_sibling draft_tokens token_bitmask time_threshold temperatures",
    ),
)
"""What is called or replaced here, with its parameters."""


def follow(manager: StructuredOutputManager) -> bool:
    """Let a manager fill the masks of drafts so; False where that is not right, or vLLM has other parts."""
    is_known = all(takes(owner, name, tuple(names.split())) for owner, name, names in PARTS)
    if not (is_known and is_plain(manager)):
        return False
    manager.grammar_bitmask = _filling(manager, manager.grammar_bitmask)
    return True


def is_plain(manager: Any) -> bool:
    """Whether a manager's masks follow from a request's grammar and draft alone, and a wrong token is refused by them."""
    config = manager.vllm_config
    return (
        manager.reasoner_cls is None
        and not config.model_config.is_diffusion
        # such a sampler accepts at random
        and getattr(config.speculative_config, "rejection_sample_method", None) != "synthetic"
    )


def take(requests: Mapping[str, Any], drafts: Any) -> Any:
    """Give requests their drafts of vLLM's DraftTokenIds; the rest, which vLLM's own way is for, comes back."""
    rest = []
    for req_id, draft in zip(drafts.req_ids, drafts.draft_token_ids, strict=True):
        request = requests.get(req_id)
        if request is not None and draft and is_going_on(request) and fits(request, draft):
            request.spec_token_ids = to_the_end(grammar_of(request).matcher, draft)
        else:
            rest.append((req_id, draft))
    return replace(
        drafts, req_ids=[one for one, _ in rest], draft_token_ids=[draft for _, draft in rest]
    )


def is_going_on(request: Any) -> bool:
    """Whether a request is one that vLLM takes drafts for: past its prompt, not finished."""
    return not (request.is_finished() or request.is_prefill_chunk)


def grammar_of(request: Any) -> Any:
    """A request's grammar; None without one."""
    return getattr(request.structured_output_request, "grammar", None)


def fits(request: Any, draft: Sequence[int]) -> bool:
    """Whether the masks of a draft, which is not empty, can be filled in one call: a grammar of xgrammar's that goes on, no padding."""
    grammar = grammar_of(request)
    is_ours = type(grammar) is XgrammarGrammar and not grammar.is_terminated()
    return is_ours and min(draft) >= 0


def to_the_end(matcher: Any, draft: list[int]) -> list[int]:
    """A draft without what is behind its first stop token: nothing is masked there, a sampler would accept anything."""
    for stop in matcher.stop_token_ids:
        if stop in draft:
            draft = draft[: draft.index(stop) + 1]
    return draft


def fill(grammar: Any, draft: Sequence[int], rows: torch.Tensor) -> None:
    """The masks of a draft's places and of the one behind it.

    rows: int32 [1 + len(draft), words of a mask]. Behind a token that the grammar refuses, or that ends it, all is open.
    The grammar stays where it is.
    """
    words = rows.numpy()  # numpy fills in one thread: torch would wake its others for it
    words[-1].fill(OPEN)
    _traverse(grammar.matcher, draft, rows)
    if len(draft) > 1 and _is_all(words[-1], OPEN):  # it stopped before: what is behind is old
        words[1:].fill(OPEN)
        _traverse(grammar.matcher, draft, rows)
    # xgrammar empties the row behind a token that it refuses or ends with, and goes no further
    reached = next((row for row in words[:0:-1] if not _is_all(row, OPEN)), words[-1])
    if _is_all(reached, 0):
        reached.fill(OPEN)


def _is_all(row: NDArray[np.int32], word: int) -> bool:
    return row[0] == word and bool((row == word).all())


def _traverse(matcher: Any, draft: Sequence[int], rows: torch.Tensor) -> None:
    following, siblings = _chain(len(rows))
    nodes = torch.from_numpy(np.array([0, *draft], dtype=np.int64))
    matcher.traverse_draft_tree(following, siblings, nodes, rows)


@functools.lru_cache(maxsize=256)
def _chain(num_nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The tree with one node after the other: the next of each, and its sibling, -1 for none."""
    following = torch.arange(1, num_nodes + 1)
    following[-1] = -1
    return following, torch.full((num_nodes,), -1)


def _filling(manager: Any, method: Method) -> Method:
    def grammar_bitmask(
        requests: Mapping[str, Any],
        structured_output_request_ids: list[str],
        scheduled_spec_decode_tokens: Drafts,
    ) -> Any:
        ids, drafts = structured_output_request_ids, scheduled_spec_decode_tokens
        masks = manager._grammar_bitmask
        has_drafts = any(drafts.get(one) for one in ids)
        is_fast = has_drafts and all(
            not drafts.get(one) or fits(requests[one], drafts[one]) for one in ids
        )
        if masks is None or not is_fast:  # vLLM allocates them
            return method(requests, ids, _validated(requests, ids, drafts))
        at = 0
        for one in ids:
            grammar, draft = grammar_of(requests[one]), drafts.get(one, ())
            if draft:
                fill(grammar, draft, masks[at : at + 1 + len(draft)])
            else:
                manager._fill_bitmasks(((grammar, at, True),))
            at += 1 + len(draft)
        return masks[:at].numpy()

    return grammar_bitmask


def _validated(requests: Mapping[str, Any], ids: Sequence[str], drafts: Drafts) -> Drafts:
    """Drafts for vLLM's own way, which takes no wrong tokens: padding from the first one on."""
    padded = {}
    for one in ids:
        draft = drafts.get(one)
        if draft and fits(requests[one], draft):
            right = grammar_of(requests[one]).validate_tokens(draft)
            padded[one] = right + [-1] * (len(draft) - len(right))
    return {**drafts, **padded}
