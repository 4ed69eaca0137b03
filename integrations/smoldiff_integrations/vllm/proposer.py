"""What vLLM calls for drafts: `--speculative-config '{"method": "custom_class", "model": PROPOSER, ...}'`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from packaging.version import Version
from torch import Tensor

from smoldiff.decode.drafters import NUM_CANDIDATES
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.context import Row, Step
from smoldiff_integrations.vllm.drafting import Candidates, RequestDrafts
from smoldiff_integrations.vllm.hooks import install
from smoldiff_integrations.vllm.options import read_options
from smoldiff_integrations.vllm.schema import NoScaffold, constraint_of, styles_of

PROPOSER = f"{__name__}.Proposer"
MAX_FAULTS = 16
"""Errors after which nothing is drafted any more: each costs time, and none is expected."""

log = logging.getLogger("vllm.smoldiff")


class Proposer:
    """Drafts for the requests of a batch that have a schema. Nothing that goes wrong in it reaches a request."""

    def __init__(self, vllm_config: Any) -> None:
        self._options = read_options(vllm_config.additional_config)
        self._max_draft = int(vllm_config.speculative_config.num_speculative_tokens)
        self._vocabulary = Vocabulary.of(_tokenizer(vllm_config.model_config))
        self._styles = _styles(vllm_config.structured_outputs_config)
        self._runner: Any = None
        self._step: Step | None = None
        self._logits_LV: Tensor | None = None
        self._requests: dict[str, RequestDrafts | None] = {}
        self._num_faults = 0
        missing = install(Proposer)
        log.info(
            "smoldiff drafts with %s, at most %d tokens%s",
            "+".join(sorted(self._options.drafter)),
            self._max_draft,
            f"; this vLLM has other methods {', '.join(missing)}, so drafts do without"
            * bool(missing),
        )

    def load_model(self, target: Any) -> None:
        """Nothing: there is no second model. vLLM's runner for CPUs asks for the method."""

    def bind(self, runner: Any) -> None:
        """The runner, before it loads its model."""
        self._runner = runner
        # A batch with one long request would otherwise get K tokens of zeros each.
        if hasattr(runner, "effective_drafter_max_model_len"):
            runner.effective_drafter_max_model_len = 1 << 30

    def look(self, logits_LV: Tensor | None) -> None:
        """The logits that this step is sampled from; None where it verifies no draft."""
        self._logits_LV = logits_LV

    def begin(self, runner: Any, scheduler_output: Any, *_: Any) -> None:
        """A step is over; `propose` follows."""
        self._runner = runner
        self._step = Step(scheduler_output, self._logits_LV)
        self._logits_LV = None

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: Any,
        token_ids_cpu: Any,
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """A draft for each row of the batch, [] for most; never an error."""
        step, self._step = self._step, None
        drafts: list[list[int]] = [[] for _ in sampled_token_ids]
        if step is None or self._num_faults >= MAX_FAULTS:
            return drafts
        for request_id in step.scheduler_output.finished_req_ids:
            self._requests.pop(request_id, None)
        for i, row in enumerate(step.rows(self._runner, sampled_token_ids)):
            if row is None or row.sampling_params.structured_outputs is None:
                continue
            try:
                drafts[i] = self._draft(row, step)
            except Exception:  # a fault of ours must not end the server's step
                self._fault(row)
        return drafts

    def _draft(self, row: Row, step: Step) -> list[int]:
        if not row.num_new:
            return []
        if row.request_id not in self._requests:
            self._requests[row.request_id] = self._new(row)
        drafts = self._requests[row.request_id]
        if drafts is None:
            return []
        if row.drafted and step.logits_LV is not None:
            stop = row.first_logit + len(row.drafted)
            candidates = Candidates(
                row.drafted, step.logits_LV[row.first_logit : stop], NUM_CANDIDATES
            )
            drafts.learn(row.drafted, row.num_new - 1, candidates)
        params = row.sampling_params
        room = self._max_draft
        if params.max_tokens is not None:
            room = min(room, params.max_tokens - len(row.written) - 1)
        eos_id = None if params.ignore_eos else params.eos_token_id
        return drafts.propose(row.written, room, eos_id)

    def _new(self, row: Row) -> RequestDrafts | None:
        """The drafts of a request, None where nothing can be drafted."""
        try:
            outputs = row.sampling_params.structured_outputs
            constraint = constraint_of(outputs, self._styles, self._vocabulary)
        except NoScaffold as problem:
            log.debug("no drafts for request %s: %s", row.request_id, problem)
            return None
        return RequestDrafts(constraint, self._vocabulary, self._options.drafter, row.prompt_ids)

    def _fault(self, row: Row) -> None:
        self._requests[row.request_id] = None
        self._num_faults += 1
        log.warning("smoldiff: a fault of the drafter; the request goes on without", exc_info=True)
        if self._num_faults == MAX_FAULTS:
            log.warning("smoldiff: %d faults; nothing is drafted any more", MAX_FAULTS)


def _tokenizer(model_config: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model_config.tokenizer,
        revision=model_config.tokenizer_revision,
        trust_remote_code=model_config.trust_remote_code,
    )


def _styles(config: Any) -> Any:
    import vllm

    has_blanks = config.backend != "guidance" and Version(vllm.__version__) < Version("0.32")
    return styles_of(config.disable_any_whitespace, has_blanks)
