"""What an experiment is made of: its configuration, read strictly, and what makes it the same as another."""
