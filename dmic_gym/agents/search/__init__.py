"""Choosing QP maps by trial encodes."""
