"""Agents: whoever chooses QP offsets."""
