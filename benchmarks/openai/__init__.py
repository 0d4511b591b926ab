"""What OpenAI's shapes cost, beside what a governed call costs (`benchmarks/speed`)."""
