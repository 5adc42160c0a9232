"""Reads what comes to a broker, each event's id and the digest of its bytes a line, until it is ended.

kafka: holds the cluster of librdkafka's own tests, says a port of it, and reads its topic. nats PORT: makes the stream and reads it.
"""
import asyncio
import hashlib
import json
import sys


def say(value):
    digest = hashlib.sha256(value).hexdigest()
    print(json.loads(value)["id"], digest, flush=True)


def kafka():
    from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
    ports = [broker.port for broker in cluster.list_topics(timeout=20).brokers.values()]
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{ports[0]}", "group.id": "none", "enable.auto.commit": False})
    partitions = consumer.list_topics("convizit-events", 20).topics["convizit-events"].partitions
    consumer.assign([TopicPartition("convizit-events", partition, OFFSET_BEGINNING) for partition in partitions])
    print(ports[0], flush=True)
    while True:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            say(message.value())


async def nats(port):
    import nats as client

    connection = await client.connect(f"nats://127.0.0.1:{port}")
    stream = connection.jetstream()
    await stream.add_stream(name="EVENTS", subjects=["convizit.>"])
    messages = await stream.subscribe("convizit.>", ordered_consumer=True)
    print(port, flush=True)
    async for message in messages.messages:
        say(message.data)


if sys.argv[1] == "kafka":
    kafka()
else:
    asyncio.run(nats(sys.argv[2]))
