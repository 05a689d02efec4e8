"""From images and masks to a certified model: configuration, training, export, proof, model card."""
