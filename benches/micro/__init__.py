"""Parts of the path of a request alone, by pyperf: head, token, range, validators, policy, answer.

make micro, make micro QUICK=1, make micro ONLY=token. `cases` is what is measured.
"""
