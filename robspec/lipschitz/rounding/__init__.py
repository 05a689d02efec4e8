"""What rounding may add to the logits: one more adversary, bounded in the norm of the Lipschitz walk."""
