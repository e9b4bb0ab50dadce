"""What the agent keeps of its ranks: how they are started, watched, ended and replaced."""
