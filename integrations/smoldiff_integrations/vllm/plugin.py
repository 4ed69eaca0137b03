"""The entry point `vllm.general_plugins`. vLLM calls it in every process, so it may be repeated and must not fail.

It makes our tool parser known by name, our numbers to the Prometheus page, and our scheduler to configurations that name
our proposer, see `config`. Drafts begin when a server names it, see `proposer`.
"""

from __future__ import annotations

import logging

from smoldiff_integrations.vllm import SUPPORTED, is_supported

PARSER = "smoldiff"
log = logging.getLogger("vllm.smoldiff")


def register() -> None:
    """Make the tool parser "smoldiff", our numbers and our scheduler known."""
    try:
        import vllm
        from vllm.config import VllmConfig
        from vllm.tool_parsers import ToolParserManager

        from smoldiff_integrations.vllm.config import adapt
        from smoldiff_integrations.vllm.metrics import show_metrics

        if not is_supported(vllm.__version__):
            log.warning(
                "smoldiff was made for vLLM %s; with %s it may draft less or nothing",
                SUPPORTED,
                vllm.__version__,
            )
        ToolParserManager.register_lazy_module(
            PARSER, "smoldiff_integrations.vllm.toolparser", "SmoldiffToolParser"
        )
        show_metrics()
        adapt(VllmConfig)
    except Exception:  # an error here would end the server, wanted or not
        log.warning("smoldiff cannot make itself known to this vLLM", exc_info=True)
