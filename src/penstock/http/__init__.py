"""Our HTTP/1.1: a server and an upstream pool over httptools (llhttp), on asyncio protocols."""
