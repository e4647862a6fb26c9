"""Any function over any items, many calls at once, on the engines that move files."""
