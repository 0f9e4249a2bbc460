"""Readers, losses, trainers, mining and metrics: what makes and measures weights; it never travels to the Hub."""
