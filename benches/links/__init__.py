"""How long resumable uploads take with each way of choosing chunks, on simulated links.

python -m benches.links, python -m benches.links --seeds 2 --uploads 20. `weather` is what the links do,
`upload` what client and server make of it, `outcome` what came of it. Nothing is measured on this machine: a
seed always gives the same figures.
"""
