"""The clients in other languages: their own tests, and their answers against ours."""
