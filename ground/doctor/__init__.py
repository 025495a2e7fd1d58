"""`l4 doctor`: is this installation well, and what is there to do where it is not."""
