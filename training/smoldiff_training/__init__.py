"""Training: the bundled base here, the diffusion head beside it."""
