"""AgentDojo (PyPI `agentdojo`) as real input: tools, tasks and calls that were written elsewhere."""
