"""The only public door: orchestrates one request over the services behind it."""
