"""What evidence costs: appending, verifying, opening."""
