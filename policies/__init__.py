"""Whether a question may be asked, and what its answer may disclose.

Pure: values and time arrive as arguments; no clock, network, disk or Flask, and nothing of `app`, `adapters`
or `evidence`.
`decision` decides by the Cedar rules that `loading` has checked, over `facts`; `obligations` bind the answer.
"""
