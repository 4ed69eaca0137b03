"""What vLLM calls for drafts, when a server's `--speculative-config` names it, see `serve`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from packaging.version import Version
from torch import Tensor

from smoldiff.errors import SmoldiffError
from smoldiff.head.model import DiffusionHead
from smoldiff.scaffold.style import JsonStyle
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm import masks
from smoldiff_integrations.vllm.batch import NO_LIMIT, BatchDrafts
from smoldiff_integrations.vllm.config import PLAIN_TOKENS
from smoldiff_integrations.vllm.context import Step, nothing_to_verify
from smoldiff_integrations.vllm.counters import Counters
from smoldiff_integrations.vllm.cpu import mend_expansion
from smoldiff_integrations.vllm.features import bytes_a_token
from smoldiff_integrations.vllm.graphs import Graphs
from smoldiff_integrations.vllm.head import head_folder, load_head, ready_head, record_taps_alone
from smoldiff_integrations.vllm.hooks import install, share_memory
from smoldiff_integrations.vllm.options import read_options
from smoldiff_integrations.vllm.schema import styles_of
from smoldiff_integrations.vllm.turns import turn
from smoldiff_integrations.vllm.verifying import warm_up

WITHOUT_HEAD = frozenset({"parallel", "copy"})

log = logging.getLogger("vllm.smoldiff")


class Proposer:
    """Tells `BatchDrafts` what happens in vLLM.

    What cannot be had is done without, in this order: the head, the parallel guesses, all drafts.
    """

    def __init__(self, vllm_config: Any) -> None:
        """Raises RequestError for wrong options; whatever else goes wrong, the server starts."""
        from vllm.v1.worker import gpu_model_runner
        from vllm.v1.worker.gpu_worker import Worker

        options = read_options(vllm_config.additional_config)
        self._runner: Any = None
        self._plain_tokens: int | None = getattr(vllm_config, PLAIN_TOKENS, None)
        self._graphs: Graphs | None = None
        self._step: Step | None = None
        self._logits_RV: Tensor | None = None
        self._started = 0.0
        self._is_first_rank = True
        self._is_vllm_other = False
        self._head: DiffusionHead | None = None
        self._batch: BatchDrafts | None = None
        missing = install(gpu_model_runner.GPUModelRunner, Proposer)
        share_memory(Worker, Proposer)
        if missing:
            log.warning("smoldiff: this vLLM has other methods %s", ", ".join(missing))
        mend_expansion()
        masks.follow(gpu_model_runner)
        self._model_config = model_config = vllm_config.model_config
        try:
            tokenizer = _tokenizer(model_config)
            vocabulary = Vocabulary.of(tokenizer)
        except (SmoldiffError, OSError, ValueError) as problem:
            log.warning("smoldiff drafts nothing: %s", problem)
            return
        self._batch = BatchDrafts(
            vocabulary,
            _styles(vllm_config.structured_outputs_config),
            (options.drafter or WITHOUT_HEAD) - {"diffusion"},
            int(vllm_config.speculative_config.num_speculative_tokens),
            Counters(),
            options.log_requests,
            graph_tokens=max(vllm_config.compilation_config.cudagraph_capture_sizes or [NO_LIMIT]),
        )
        is_wanted = options.drafter is None or "diffusion" in options.drafter
        folder = head_folder(model_config.model, options.head) if is_wanted else None
        if folder is not None and missing:
            self._batch.drop_head("it needs all hooks")
        elif folder is not None:
            try:
                self._head = load_head(folder, model_config, tokenizer, vocabulary)
            except SmoldiffError as problem:
                self._batch.drop_head(str(problem))

    def bind(self, runner: Any) -> None:
        """The runner, before it loads its model."""
        self._runner = runner
        # A batch with one long request would otherwise get K tokens of zeros each.
        runner.effective_drafter_max_model_len = NO_LIMIT
        runner.use_async_spec_decode = False  # scheduled ahead there are no drafts
        self._graphs = Graphs(runner, self._plain_tokens)
        if self._head is not None and len(self._head.config.taps) > 1:
            layers = self._head.config.taps[:-1]
            runner.use_aux_hidden_state_outputs = True
            runner._get_eagle3_aux_layers_from_config = lambda: layers

    def load_model(self, target: Any) -> None:
        """The served model is loaded; the head shares its tables."""
        from vllm.distributed import get_tensor_model_parallel_rank

        # Every rank takes part in sharing the tables; only the drafts of the first are used.
        self._is_first_rank = get_tensor_model_parallel_rank() == 0
        if self._batch is None:
            return
        if self._head is not None:
            self._share(target, self._head, self._batch)
        warm_up(target, self._model_config)
        if self._is_first_rank:
            self._batch.warm_up()
        parts = self._batch.parts | ({"diffusion"} if self._batch.head else set())
        num = self._batch.max_draft
        log.info("smoldiff drafts with %s, at most %d tokens", "+".join(sorted(parts)), num)

    def _share(self, target: Any, head: DiffusionHead, batch: BatchDrafts) -> None:
        from vllm.model_executor.models.interfaces import supports_eagle3

        reason = ""
        if self._runner is None:
            reason = "vLLM's runner was not seen"
        elif not supports_eagle3(target):
            reason = f"{type(target).__name__} does not give its hidden states"
        else:
            try:
                batch.head = ready_head(head, target)
                record_taps_alone(target)
            except SmoldiffError as problem:
                reason = str(problem)
        if reason:
            if self._runner is not None:
                self._runner.use_aux_hidden_state_outputs = False
            batch.drop_head(reason)

    def reserve(self, num_bytes: int, specs: Mapping[str, Any]) -> int:
        """Room for the states of as many tokens as the KV cache has room for beside them.

        specs: vLLM's KVCacheSpec of each layer. Where they differ there are several groups of layers, and no head.
        """
        has_groups = len({repr(spec) for spec in specs.values()}) > 1
        if self._batch is None or self._batch.head is None or has_groups or not self._is_first_rank:
            return 0
        config = self._batch.head.head.config
        width = len(config.taps) * config.base.hidden_size
        own = bytes_a_token(width, self._batch.head.tables.embedding_VH.dtype)
        cache = sum(spec.page_size_bytes / spec.block_size for spec in specs.values())
        reserved = int(num_bytes * own / (own + cache))
        log.info("smoldiff keeps hidden states in %.2f GiB beside the KV cache", reserved / 2**30)
        return reserved

    def start(self, runner: Any, scheduler_output: Any) -> None:
        """A step begins."""
        turn(runner, scheduler_output)
        if self._graphs is not None:
            self._graphs.start(scheduler_output)
        self._started = time.perf_counter()

    def nothing_to_verify(self, runner: Any, num_rows: int) -> Any:
        """vLLM's SpecDecodeMetadata of a step without drafts; None where vLLM must make it itself."""
        if self._is_vllm_other:
            return None
        try:
            return nothing_to_verify(runner, num_rows)
        except (AttributeError, ImportError, TypeError):
            self._is_vllm_other = True
            log.warning("smoldiff: this vLLM describes steps in another way", exc_info=True)
            return None

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
        if step is None or self._batch is None or not self._is_first_rank:
            return [[] for _ in sampled_token_ids]
        if step.is_ahead:
            self._batch.pass_by(self._runner, step)
            return []
        return self._batch.draft(self._runner, step, sampled_token_ids)


def _tokenizer(model_config: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model_config.tokenizer,
        revision=model_config.tokenizer_revision,
        trust_remote_code=model_config.trust_remote_code,
    )


def _styles(config: Any) -> tuple[JsonStyle, ...]:
    import vllm

    has_blanks = config.backend != "guidance" and Version(vllm.__version__) < Version("0.32")
    return styles_of(config.disable_any_whitespace, has_blanks)
