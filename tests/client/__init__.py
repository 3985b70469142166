"""The batch client: by itself, against the application in this process, and against real servers over sockets."""
