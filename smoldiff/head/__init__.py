"""The diffusion head: a few bidirectional layers over a template, conditioned on a frozen base's hidden states."""
