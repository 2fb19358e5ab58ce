"""What a module does beside giving outputs, so that no engine and no judge is led astray by it."""
