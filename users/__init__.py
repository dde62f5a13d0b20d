"""Who asks: Locust users that stream chat answers, with and without a system prompt."""
