"""Makes the model that ships with Penstock (`bundled:mini`): tasks, tokenizer, training, export, evaluation."""
