"""Looking inside trained models: what heads attend to, what is lost without a part, what the stream carries."""
