"""The Tornado shell: sockets and HTTP around the stream."""
