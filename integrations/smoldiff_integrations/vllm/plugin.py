"""The entry point `vllm.general_plugins`. vLLM calls it in every process, so it may be repeated and must not fail.

It only makes our tool parser known by name. Drafts begin when a server names our proposer, see `proposer`.
"""

from __future__ import annotations

import logging

from packaging.specifiers import SpecifierSet

from smoldiff_integrations.vllm import SUPPORTED

PARSER = "smoldiff"
log = logging.getLogger("vllm.smoldiff")


def register() -> None:
    """Make the tool parser "smoldiff" known."""
    try:
        import vllm
        from vllm.tool_parsers import ToolParserManager

        if not SpecifierSet(SUPPORTED).contains(vllm.__version__, prereleases=True):
            log.warning(
                "smoldiff was made for vLLM %s; with %s it may draft less or nothing",
                SUPPORTED,
                vllm.__version__,
            )
        ToolParserManager.register_lazy_module(
            PARSER, "smoldiff_integrations.vllm.toolparser", "SmoldiffToolParser"
        )
    except Exception:  # an error here would end the server, wanted or not
        log.warning("smoldiff cannot make its tool parser known to this vLLM", exc_info=True)
