"""Logs of real traffic told apart by the templates their prompts were made from. Asks no model."""
