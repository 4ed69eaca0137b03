"""Rows of tool-calling conversations: read, augmented, rendered, tokenised and packed."""
