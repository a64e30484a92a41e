"""Who may see what: principals, and the tokens that prove them."""
