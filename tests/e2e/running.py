"""The whole system as a person runs it, for tests end to end; benchmarks run it too, so it stands with them."""

from benchmarks.system import ROOT, Credentials, System, free_port, wait_until

__all__ = ["ROOT", "Credentials", "System", "free_port", "wait_until"]
