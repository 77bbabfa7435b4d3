"""Learning algorithms, one folder per system they were published for."""
