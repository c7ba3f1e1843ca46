"""The engine and one idea each. `chat` is the conversation; `terminal` is how it looks at a keyboard."""
