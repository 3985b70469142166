"""Pictures and bodies that are made to do harm, and what looks for more of them."""
