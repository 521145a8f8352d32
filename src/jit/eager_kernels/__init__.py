"""Machine code for the heavy ops of eager execution, compiled when the first one is met (see `library`)."""
