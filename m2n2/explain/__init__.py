"""How a mask came about, stage by stage."""
