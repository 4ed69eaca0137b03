"""Pre-train a small SmolLM3 that calls tools."""
