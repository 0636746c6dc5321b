"""Automations: what they are made of, the shipped presets, and who moves through them."""
