"""The way out: who comes in, what each is answered, and those who stay."""
