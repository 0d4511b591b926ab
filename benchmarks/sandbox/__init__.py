"""What a sandboxed run costs: `make boxbench`."""
