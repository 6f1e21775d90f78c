"""Other servers of image-text models, with the same weights. Each is installed into an environment of its own."""
