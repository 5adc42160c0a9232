"""What `deliver` needs of NATS, Kafka and Parquet that is no product of ours: a stream, a cluster of librdkafka's tests, and the plain clients."""

import asyncio
import json
import sys
import time


def rows(file):
    """Each event as its line, its id, its type, its project and its visitor, read before any clock runs."""
    with open(file, "rb") as lines:
        for line in lines:
            line = line.rstrip(b"\n")
            event = json.loads(line)
            yield line, event["id"], event["type"], event["project"], event["visitor"]


async def nats_stream(port):
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    for name in ("convizit", "plain"):
        await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
    await client.close()


async def nats_publish(port, file):
    """All of them published one after the other, at most 4 000 of them not acknowledged yet, which is the client's own default."""
    import nats

    messages = [
        (f"plain.{project}.{kind}", line, {"Nats-Msg-Id": id, "content-type": "application/json"})
        for line, id, kind, project, _ in rows(file)
    ]
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream()
    start = time.monotonic()
    waiting = [await stream.publish_async(subject, line, headers=headers) for subject, line, headers in messages]
    for answer in await asyncio.gather(*waiting):
        assert answer.stream == "plain", answer
    print(time.monotonic() - start)
    await client.close()


def kafka_cluster():
    """Three brokers in memory; says the port of one, and then again and again how many records their partitions have taken. What lies in
    a partition is thrown away beyond some megabytes, its numbers go on."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
    topics = {name: {} for name in ("convizit-events", "plain")}
    while not all(topics.values()):
        # A topic is made when a producer asks for it first.
        topics = {name: cluster.list_topics(name, 20).topics[name].partitions for name in topics}
    port = next(iter(cluster.list_topics(timeout=20).brokers.values())).port
    print(port, flush=True)
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "none"})
    parts = [TopicPartition(name, part) for name, parts in topics.items() for part in parts]
    while True:
        taken = dict.fromkeys(topics, 0)
        for part in parts:
            taken[part.topic] += consumer.get_watermark_offsets(part, 20)[1]
        print(*taken.values(), flush=True)
        time.sleep(0.1)


def kafka_publish(port, file):
    """The client as its documents have it where nothing may be lost or repeated, compressed as the product does."""
    from confluent_kafka import Producer

    records = [
        (visitor.encode(), line, [("type", kind.encode()), ("id", id.encode())]) for line, id, kind, _, visitor in rows(file)
    ]
    producer = Producer(
        {
            "bootstrap.servers": f"127.0.0.1:{port}",
            "enable.idempotence": True,
            "compression.type": "gzip",
            "compression.level": 1,
            "partitioner": "murmur2_random",
        }
    )
    failed = []
    start = time.monotonic()
    for key, line, headers in records:
        while True:
            try:
                producer.produce("plain", line, key, headers=headers, on_delivery=lambda error, _: error and failed.append(error))
                break
            except BufferError:
                producer.poll(0.05)
    assert producer.flush(60) == 0 and not failed, failed[:1]
    print(time.monotonic() - start)


def parquet_put(address, folder):
    """Each file's columns, in memory before the clock runs, written anew with the product's compression and PUT, four files at once."""
    import hashlib
    import http.client
    import io
    import os
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow.parquet as pq

    tables = [pq.read_table(os.path.join(folder, name)) for name in os.listdir(folder)]

    def lane(mine):
        connection = http.client.HTTPConnection(address)
        for number, table in mine:
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd")
            body = buffer.getvalue()
            headers = {"if-none-match": "*", "x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
            connection.request("PUT", f"/events/plain/{number}.parquet", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status

    numbered = list(enumerate(tables))
    start = time.monotonic()
    with ThreadPoolExecutor(4) as lanes:
        list(lanes.map(lane, [numbered[at::4] for at in range(4)]))
    print(time.monotonic() - start)


what, *arguments = sys.argv[1:]
done = {
    "nats-stream": nats_stream,
    "nats-publish": nats_publish,
    "kafka-cluster": kafka_cluster,
    "kafka-publish": kafka_publish,
    "parquet-put": parquet_put,
}[what](*arguments)
if asyncio.iscoroutine(done):
    asyncio.run(done)
