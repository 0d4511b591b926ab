"""OpenAI's shapes to ours and back: translates, decides nothing."""
