"""What vLLM calls for drafts, when a server's `--speculative-config` names it, see `serve`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from packaging.version import Version
from torch import Tensor

from smoldiff.decode.drafters import NUM_CANDIDATES
from smoldiff.errors import SmoldiffError
from smoldiff.head.model import DiffusionHead
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.context import Row, Step, block_size_of, states_at, table_for
from smoldiff_integrations.vllm.counters import Counters
from smoldiff_integrations.vllm.cpu import mend_expansion
from smoldiff_integrations.vllm.drafting import Candidates, RequestDrafts
from smoldiff_integrations.vllm.features import FeatureTable
from smoldiff_integrations.vllm.head import ReadyHead, head_folder, load_head, ready_head
from smoldiff_integrations.vllm.hooks import install
from smoldiff_integrations.vllm.load import Load
from smoldiff_integrations.vllm.options import read_options
from smoldiff_integrations.vllm.schema import NoScaffold, constraint_of, styles_of

MAX_FAULTS = 16
"""Errors after which nothing is drafted any more: each costs time, and none is expected."""

log = logging.getLogger("vllm.smoldiff")


class Proposer:
    """Drafts for the requests of a batch that have a schema. Nothing that goes wrong in it reaches a request.

    What cannot be had is done without, in this order: the head, the parallel guesses, all drafts.
    """

    def __init__(self, vllm_config: Any) -> None:
        self._options = read_options(vllm_config.additional_config)
        self._max_draft = int(vllm_config.speculative_config.num_speculative_tokens)
        model_config = vllm_config.model_config
        tokenizer = _tokenizer(model_config)
        self._vocabulary = Vocabulary.of(tokenizer)
        self._styles = _styles(vllm_config.structured_outputs_config)
        self._runner: Any = None
        self._step: Step | None = None
        self._logits_RV: Tensor | None = None
        self._head: DiffusionHead | None = None
        self._ready: ReadyHead | None = None
        self._table: FeatureTable | None = None
        self._requests: dict[str, RequestDrafts | None] = {}
        self._num_faults = 0
        self._load = Load()
        self._started = 0.0
        self._counters = Counters()
        self._is_first_rank = True
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner

        missing = install(GPUModelRunner, Proposer)
        if missing:
            log.warning("smoldiff: this vLLM has other methods %s", ", ".join(missing))
        mend_expansion()
        wanted = self._options.drafter
        folder = head_folder(model_config.model, self._options.head)
        if folder is not None and not missing and (wanted is None or "diffusion" in wanted):
            try:
                self._head = load_head(folder, model_config, tokenizer, self._vocabulary)
            except SmoldiffError as problem:
                self._without_head(str(problem))

    def bind(self, runner: Any) -> None:
        """The runner, before it loads its model."""
        self._runner = runner
        # A batch with one long request would otherwise get K tokens of zeros each.
        if hasattr(runner, "effective_drafter_max_model_len"):
            runner.effective_drafter_max_model_len = 1 << 30
        if self._head is not None and len(self._head.config.taps) > 1:
            layers = self._head.config.taps[:-1]
            runner.use_aux_hidden_state_outputs = True
            runner._get_eagle3_aux_layers_from_config = lambda: layers

    def load_model(self, target: Any) -> None:
        """The served model is loaded; the head shares its tables."""
        from vllm.distributed import get_tensor_model_parallel_rank
        from vllm.model_executor.models.interfaces import supports_eagle3

        # Every rank must take part in loading; the drafts of the first are the ones that count.
        self._is_first_rank = get_tensor_model_parallel_rank() == 0
        if self._head is not None:
            try:
                if not supports_eagle3(target):
                    raise _NoStates(f"{type(target).__name__} does not give its hidden states")
                if self._runner is None:
                    raise _NoStates("vLLM's runner was not seen")
                self._ready = ready_head(self._head, target)
            except (SmoldiffError, _NoStates) as problem:
                if self._runner is not None:
                    self._runner.use_aux_hidden_state_outputs = False
                self._without_head(str(problem))
        log.info(
            "smoldiff drafts with %s, at most %d tokens",
            "+".join(sorted(self._parts)),
            self._max_draft,
        )

    def _without_head(self, reason: str) -> None:
        log.warning("smoldiff drafts without a head: %s", reason)
        self._counters.add("fallbacks", reason="head")
        self._head = self._ready = self._table = None

    @property
    def _parts(self) -> frozenset[str]:
        """What drafts."""
        if self._ready is None:
            return (self._options.drafter or frozenset({"parallel", "copy"})) - {"diffusion"}
        return self._options.drafter or frozenset({"diffusion", "copy"})

    def start(self) -> None:
        """A step begins."""
        self._started = time.perf_counter()

    def look(self, logits_RV: Tensor | None) -> None:
        """The logits that this step is sampled from; None where it verifies no draft."""
        self._logits_RV = logits_RV

    def begin(
        self,
        runner: Any,
        scheduler_output: Any,
        sampled_token_ids: Any,
        sampling_metadata: Any,
        hidden_states: Tensor,
        sample_hidden_states: Tensor,
        aux_hidden_states: Sequence[Tensor] | None,
        spec_decode_metadata: Any,
        common_attn_metadata: Any,
        slot_mappings: Any,
    ) -> None:
        """A step is over; `propose` follows."""
        self._runner = runner
        self._step = Step(
            scheduler_output,
            hidden_states,
            aux_hidden_states,
            common_attn_metadata,
            self._logits_RV,
            1e3 * (time.perf_counter() - self._started),
        )
        self._logits_RV = None

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
        if step is None or not self._is_first_rank or self._num_faults >= MAX_FAULTS:
            return drafts
        began = time.perf_counter()
        try:
            rows = list(step.rows(self._runner, sampled_token_ids))
            self._open(step, rows)
        except Exception:  # a fault of ours must not end the server's step
            self._fault("this step has no drafts")
            return drafts
        num_rows = sum(row is not None and row.num_new > 0 for row in rows)
        for i, row in enumerate(rows):
            if row is None or not row.num_new:
                continue
            try:
                drafts[i] = self._draft(row, step, num_rows)
            except Exception:
                self._requests[row.request_id] = None
                self._fault("the request goes on without drafts")
        self._counters.add("draft_microseconds", round(1e6 * (time.perf_counter() - began)))
        return drafts

    def _open(self, step: Step, rows: Sequence[Row | None]) -> None:
        """Take in what a step says of the whole batch."""
        for request_id in step.scheduler_output.finished_req_ids:
            drafts = self._requests.pop(request_id, None)
            if drafts is not None and self._options.log_requests:
                log.info("smoldiff: request %s: %s", request_id, drafts.tally)
        num_tokens = step.scheduler_output.total_num_scheduled_tokens
        if num_tokens == sum(1 + len(row.drafted) for row in rows if row is not None):
            self._load.step.add(num_tokens, step.ms)  # no part of a prompt was read in it
        if self._ready is not None:
            self._keep_states(step, self._ready)

    def _keep_states(self, step: Step, ready: ReadyHead) -> None:
        try:
            if self._table is None:
                self._table = table_for(self._runner, len(ready.head.config.taps), step)
            if self._table is None:
                self._without_head("the KV cache has several groups")
            else:
                step.keep_states(self._table)
        except Exception:  # out of memory, or states of another shape
            self._fault("the head is off")
            self._without_head("its states could not be kept")

    def _draft(self, row: Row, step: Step, num_rows: int) -> list[int]:
        if row.request_id not in self._requests:
            self._requests[row.request_id] = self._new(row, num_rows)
        drafts = self._requests[row.request_id]
        if drafts is None:
            return []
        began = time.perf_counter()
        self._learn(drafts, row, step)
        if drafts.has_head and not self._load.pays(True, num_rows):
            self._counters.add("fallbacks", reason="load")
            drafts.drop_head()
        if not drafts.has_head and not self._load.pays(False, num_rows):
            self._counters.add("fallbacks", reason="load")
            drafts.rest()
            return []
        ids = drafts.propose(row.written, self._room(row), _eos_id(row.sampling_params))
        num_kept = self._load.length(drafts.labels(len(ids)), num_rows)
        if num_kept < len(ids):
            drafts.cut(num_kept)
            ids = ids[:num_kept]
        self._load.of(drafts.has_head).ms.add(1e3 * (time.perf_counter() - began))
        return ids

    def _learn(self, drafts: RequestDrafts, row: Row, step: Step) -> None:
        """Take in what the pass said of the row's last draft."""
        num_accepted = min(row.num_new - 1, len(row.drafted))
        labels = drafts.labels(len(row.drafted))
        self._load.learn(labels, num_accepted)
        paid = self._load.of(drafts.has_head)
        paid.tokens.add(len(labels))
        paid.accepted.add(num_accepted)
        drafts.tally.add(len(labels), num_accepted)
        if labels:
            self._counters.add("drafts")
        for t, (drafter, slot) in enumerate(labels):
            self._counters.add("draft_tokens", drafter=drafter, slot=slot)
            if t < num_accepted:
                self._counters.add("accepted_tokens", drafter=drafter, slot=slot)
        if drafts.has_head and not self._see(drafts, row):
            self._counters.add("fallbacks", reason="states")
            drafts.drop_head()
        if row.drafted and step.logits_RV is not None:
            stop = row.first_logit + len(row.drafted)
            candidates = Candidates(
                row.drafted, step.logits_RV[row.first_logit : stop], NUM_CANDIDATES
            )
            drafts.learn(row.drafted, num_accepted, candidates)

    def _see(self, drafts: RequestDrafts, row: Row) -> bool:
        table = self._table
        if table is None:
            return False
        block_size = block_size_of(self._runner)
        return drafts.see(
            row.before,
            row.drafted,
            lambda start, stop: states_at(table, row, block_size, start, stop),
        )

    def _room(self, row: Row) -> int:
        """Most tokens of the row's next draft: the pass adds one of its own."""
        max_tokens = row.sampling_params.max_tokens
        left = self._max_draft if max_tokens is None else max_tokens - len(row.written) - 1
        return max(0, min(self._max_draft, left))

    def _new(self, row: Row, num_rows: int) -> RequestDrafts | None:
        """The drafts of a request, None where nothing can be drafted."""
        outputs = row.sampling_params.structured_outputs
        self._counters.add("requests", kind="free" if outputs is None else "schema")
        if outputs is None:
            return None
        try:
            constraint = constraint_of(outputs, self._styles, self._vocabulary)
        except NoScaffold as problem:
            self._counters.add("fallbacks", reason=str(problem))
            return None
        parts, ready = self._parts, self._ready
        if "diffusion" not in parts or not self._load.prefers_head(num_rows):
            parts, ready = (parts - {"diffusion"}) | {"parallel"}, None
        return RequestDrafts(constraint, self._vocabulary, parts, row.prompt_ids, ready)

    def _fault(self, what: str) -> None:
        self._num_faults += 1
        self._counters.add("fallbacks", reason="fault")
        log.warning("smoldiff: a fault of the drafter; %s", what, exc_info=True)
        if self._num_faults == MAX_FAULTS:
            log.warning("smoldiff: %d faults; nothing is drafted any more", MAX_FAULTS)


class _NoStates(Exception):
    """The served model's states cannot be had."""


def _eos_id(params: Any) -> int | None:
    """The token that ends an answer, None where it does not end one."""
    return None if params.ignore_eos else params.eos_token_id


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
