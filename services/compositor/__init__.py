"""The compositor: shows a product before a background, without altering the product."""
