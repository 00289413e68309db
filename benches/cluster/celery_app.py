"""The tasks of `peers.py`, as Celery's worker finds them."""

import os

from celery import Celery

import peers

app = Celery("bench", broker=os.environ["CLUSTER_BENCH_REDIS"], backend=os.environ["CLUSTER_BENCH_REDIS"])
app.conf.update(
    accept_content=["pickle"],
    result_serializer="pickle",
    task_serializer="pickle",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_hijack_root_logger=False,
)

noop = app.task(peers.noop)
echo = app.task(peers.echo)
add_one_to_all = app.task(peers.add_one_to_all)
wait_or_return = app.task(peers.wait_or_return)
