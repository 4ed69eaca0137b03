"""smoldiff inside vLLM: drafts of tool calls and JSON answers, which the served model confirms.

`plugin` is the entry point, `config` and `scheduler` touch vLLM's engine, `context`, `hooks` and `turns` its model runner,
`proposer` is what vLLM calls; `schema` and `drafting` know no vLLM.
"""

from packaging.specifiers import SpecifierSet

SUPPORTED = ">=0.26,<0.33"
"""Versions of vLLM whose interfaces were read; what has another signature there is left alone, see `hooks`."""
PROPOSER = "smoldiff_integrations.vllm.proposer.Proposer"
"""What a server's `--speculative-config` names to turn drafts on."""


def is_supported(version: str) -> bool:
    """Whether it is one of SUPPORTED."""
    return SpecifierSet(SUPPORTED).contains(version, prereleases=True)
