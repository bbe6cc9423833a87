"""Transfer learning across image domains. Importing this package costs nothing."""
