"""Requests and answers in the form that clients of other services already speak, over the same engine."""
