"""What a run looked like: every figure, the headlines, and the page that shows them.

Everything is drawn from what the stages wrote. Nothing is computed from faces or networks here.
"""
