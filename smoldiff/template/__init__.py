"""Scaffold + tokenizer -> token ids and masked runs."""
