"""What is to be recognised: files, folders, archives, arrays and tables, as a stream of items with names."""
