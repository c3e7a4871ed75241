"""Everything a user hands over (images, texts, folders) as arrays that a tower takes. No torch."""
