"""The page, as somebody with a browser sees it."""
