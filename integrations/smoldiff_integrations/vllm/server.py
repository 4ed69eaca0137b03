"""vLLM's OpenAI server, to which the plugin was made known before: also where no package metadata names its entry point.

python -m smoldiff_integrations.vllm.server ARGUMENTS
"""

import runpy

from smoldiff_integrations.vllm.plugin import register

SERVER = "vllm.entrypoints.openai.api_server"
"""Run as a module: the command `vllm` reads metadata of a distribution of that name, which the build for CPUs lacks."""

if __name__ == "__main__":  # not in the processes that vLLM starts, which import this module again
    register()
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
