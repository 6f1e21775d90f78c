"""The generator: features in, captions and scenes out, by a language model behind the OpenAI API."""
