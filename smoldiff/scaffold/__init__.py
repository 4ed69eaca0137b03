"""Typed nodes to a tree of literals, slots and decisions, and the cursor that resumes it at any prefix."""
