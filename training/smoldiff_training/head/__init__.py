"""Train the diffusion head of a frozen base."""
