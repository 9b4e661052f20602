"""OpenAI's Responses on the client's side, where the upstream speaks chat completions."""
