"""``clipkit serve``: an HTTP API and an MCP server over one model and one library."""
