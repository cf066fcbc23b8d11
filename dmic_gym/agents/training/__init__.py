"""Training a policy: supervised warm start, reinforcement learning, fine-tuning."""
