"""The large model: protocol, OpenAI-compatible client, embedded server, and what buys each answer once."""
