"""Inputs: reading images, texts and folders, and making arrays for the towers. No torch."""
