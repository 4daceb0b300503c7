"""Dagster over the flow: every asset is made by the plain command, which decides what is done."""
