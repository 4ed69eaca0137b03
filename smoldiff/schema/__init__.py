"""JSON Schema to typed nodes: sources, keywords, references, normal form."""
