"""The captioner: reads what an image-text model sees in a photo."""
