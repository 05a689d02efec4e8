"""Private training without clipping: how much one sample can change a step, from bounds."""
