"""smoldiff inside other runtimes: transformers here, vLLM beside it."""
