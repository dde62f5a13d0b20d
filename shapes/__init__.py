"""How many users, when: pure plans of levels, and the small Locust shape around them."""
