"""`python -m argus_ray.cli`: the same as the command `argus`, of this very interpreter."""

from argus_ray.cli import main

main()
