"""Runnable examples: a support desk governed by Toolgate, and the scripted model it talks to."""
