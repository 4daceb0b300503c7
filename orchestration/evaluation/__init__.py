"""Quality of a run beside its baselines. The only code that reads the planted truth."""
