"""Regular languages over bytes: what a slot may hold, before any tokenizer is known. Imports neither torch nor schemas."""
