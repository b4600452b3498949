"""The version of the masks. Bump it by hand whenever the same image, attention, clicks and settings give other masks.

It stands in every plan, so that no run mixes masks of two versions. tests/m2n2/test_head_version.py fails when masks
change and this number does not.
"""

HEAD_VERSION = 1
