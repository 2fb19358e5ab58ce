"""Where noise comes from: random bits that a secret key decides, and numbers made of them."""
