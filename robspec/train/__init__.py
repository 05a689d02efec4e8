"""From images to a certified model: configuration, training, export, proof, model card."""
