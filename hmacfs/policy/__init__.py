"""Pure choice: what is known of a transfer in, how to move its bytes out."""
