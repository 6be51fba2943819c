"""Other people's files to our tree and back."""
