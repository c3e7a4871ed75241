"""What a user hands over, as arrays a tower takes. No torch."""
