"""Reads what comes to a broker, an event a line with its id, the digest of its bytes and the key by which repeats are known, until a line says that all was sent; then what is left, and `end`.

kafka: holds the cluster of librdkafka's own tests, says a port of it, and reads its topic. nats PORT: makes the stream and reads it.
The cluster keeps the newest 5 MB of a partition. Who reads too slowly finds a gap, which is no loss of whoever wrote: then it ends with that said.
"""
import asyncio
import hashlib
import json
import sys
import threading

TOPIC = "convizit-events"
# Seconds for which a stream knows repeats.
WINDOW = 120


def line(value, key):
    return f"{json.loads(value)['id']} {hashlib.sha256(value).hexdigest()} {key}"


def kafka():
    from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
    # A topic is made by whoever may write when he asks for it; who reads is told that there is none, and would read nothing for ever.
    made = cluster.list_topics(TOPIC, 20)
    ports = [broker.port for broker in made.brokers.values()]
    # Never from the newest on where the place is gone.
    options = {"bootstrap.servers": f"127.0.0.1:{ports[0]}", "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error", "check.crcs": True}
    consumer = Consumer(options)
    partitions = list(consumer.list_topics(TOPIC, 20).topics[TOPIC].partitions)
    if not partitions:
        sys.exit("the reader of Kafka failed: it is told of no partitions")
    consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in partitions])
    print(ports[0], flush=True)
    asked = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), asked.set()), daemon=True).start()
    places = dict.fromkeys(partitions, 0)
    ends = None
    while ends is None or any(places[partition] < end for partition, end in ends.items()):
        # One call a message is slower than what is written.
        lines = []
        for message in consumer.consume(1000, 0.2):
            if message.error() is not None:
                sys.exit(f"the reader of Kafka failed: {message.error()}")
            partition, place = message.partition(), places[message.partition()]
            if message.offset() != place:
                sys.exit(f"the reader of Kafka failed: behind {place} of partition {partition} comes {message.offset()}; the cluster dropped what lay between")
            places[partition] += 1
            lines.append(line(message.value(), dict(message.headers())["id"].decode()))
        if lines:
            print("\n".join(lines), flush=True)
        if ends is None and asked.is_set():
            ends = {partition: consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), 20)[1] for partition in partitions}
    print("end", flush=True)
    # The cluster is there until this is ended.
    threading.Event().wait()


async def nats(port):
    import nats as client

    connection = await client.connect(f"nats://127.0.0.1:{port}")
    stream = connection.jetstream()
    # Repeats are known for two minutes, as by default.
    await stream.add_stream(name="EVENTS", subjects=["convizit.>"], duplicate_window=WINDOW)
    messages = await stream.subscribe("convizit.>", ordered_consumer=True)
    print(port, flush=True)
    asked = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    place, end, times = 0, None, {}
    while end is None or place < end:
        try:
            message = await messages.next_msg(timeout=0.2)
        except client.errors.TimeoutError:
            message = None
        if message is not None:
            sequence = message.metadata.sequence.stream
            if sequence != place + 1:
                sys.exit(f"the reader of NATS failed: behind {place} comes {sequence}")
            place = sequence
            text = line(message.data, message.headers["Nats-Msg-Id"])
            print(text, flush=place % 100 == 0)
            # What the product could not get on with for longer than the window may be there twice, with the same key; within it nothing may.
            first = times.setdefault(text, message.metadata.timestamp)
            late = (message.metadata.timestamp - first).total_seconds()
            if 0 < late < WINDOW:
                sys.exit(f"the stream has an event again after {late:.1f} s: {text}")
        if end is None and asked.done():
            end = (await stream.stream_info("EVENTS")).state.last_seq
    print("end", flush=True)
    await connection.close()


if sys.argv[1] == "kafka":
    kafka()
else:
    asyncio.run(nats(sys.argv[2]))
