"""What a run looked like: every figure, the headlines, and the page that shows them.

And the scores of stage `evaluate`.
"""
