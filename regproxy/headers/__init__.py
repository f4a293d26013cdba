"""HTTP's words, for both sides of the mirror; pure functions that know nothing above them."""
