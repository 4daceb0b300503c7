"""The sample world: dumps of made-up users with planted tastes, and the truth about them."""
