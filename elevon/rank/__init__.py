"""The program of one worker process: it runs one attempt after the other on its own store."""
