"""The events that invoke a handler, and the replies to them."""
