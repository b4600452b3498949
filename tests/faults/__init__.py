"""What happens to a run when its surroundings fail: real processes, a real S3 server, a real Ray.

Every test starts the command `m2n2 label` as people do, breaks something while it works, and lets it (or the next
driver) finish. Afterwards `Labelling.assert_nothing_lost` reads the parts: every object that was clicked stands in them
exactly once, with its mask or with the reason why it has none, and the exported file is, byte for byte, the one of a
run that nobody disturbed.

    data.py         the images and clicks, some of them poisonous
    backbones.py    a backbone that takes its time, and that a poisonous image kills, hangs or fills
    labelling.py    one output and the drivers that work on it
    processes.py    their environment, and which of them are workers
    cluster.py      Ray nodes that are processes of this machine, to be killed one by one
    proxy.py        a proxy before the S3 server that stalls, cuts or swallows what passes

`make test` kills a driver and workers once, `make test-faults` does nearly everything once (CI runs both), and
`make test-slow` the rest, and the kills at nine more moments. The
moments are seeded; what a computer does meanwhile is not, so a failure prints the driver's log.
"""
