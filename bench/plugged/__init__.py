"""What the benchmark plugs into the daemons that it measures."""
