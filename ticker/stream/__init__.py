"""What happens to ticks on their way: synchronous, no sockets, time as an argument."""
