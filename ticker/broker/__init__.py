"""Carries Blocks from publishers to consumers."""
