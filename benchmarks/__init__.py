"""What Switchroom costs, measured beside its peers: python -m benchmarks.<name>."""
