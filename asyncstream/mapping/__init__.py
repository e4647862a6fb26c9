"""Call any function with each of many items, concurrently, on the engines that transfer files."""
