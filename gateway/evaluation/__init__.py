"""How good the recommendations of a library are, by the grades that people gave, and the weights that these teach."""
