"""Messages and authenticated channels; knows bytes and model."""
