"""What a private step does to each sample between its exact products of matrices."""
