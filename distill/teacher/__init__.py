"""The large model: the protocol, an OpenAI-compatible client, the embedded server, and what keeps calls paid for once."""
