"""Trains, evaluates and exports the generators that the service loads."""
