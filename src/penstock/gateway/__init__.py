"""The data plane: one request path, stateless but for its journal. Start reading at `serve.serve`."""
