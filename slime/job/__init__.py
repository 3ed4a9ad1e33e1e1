"""Runs configs that proved right, and says how they ended."""
