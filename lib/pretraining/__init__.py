"""How the bundled backbone came about: images rendered by programs, a network trained to tell the programs apart.

No photograph takes part. After "Pre-training without natural images" (Kataoka et al. 2020, arXiv 2101.08515), "Learning
to see by looking at noise" (Baradad et al. 2021, arXiv 2106.05963) and "Procedural image programs for representation
learning" (Baradad et al. 2022, arXiv 2211.16412).
"""
