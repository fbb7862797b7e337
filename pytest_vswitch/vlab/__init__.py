"""A DUT made of software, on the controller: QEMU with two SR-IOV NICs and an IOMMU.

From bottom to top: `state` (where its files are, whether it runs), `debian` (trees of packages),
`qemu10` and `image` (what is built once and cached), `disk` and `keys` (what one machine owns),
`ports` (where its NICs end), `supervisor` (what keeps it running), `machine` (up, reboot, down).
"""
