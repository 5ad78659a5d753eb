"""What runs inside the guest beside the product: it sets devices up, watches the kernel, does as it is told.

Only the standard library of Debian's Python is there. It arrives with the initramfs, in /run.
"""
