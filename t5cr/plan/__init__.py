"""`t5cr plan`: what a training costs, before anyone pays for it."""
